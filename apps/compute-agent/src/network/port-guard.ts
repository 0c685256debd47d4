import type { GuardRule, PortGuard } from '../drivers/hypervisor-driver.js';
import type { PortPlug } from './network-plug.js';

type Rule = PortPlug['rules'][number];

const resolved = ({ remoteGroup, ...rule }: Rule, membersOf: (group: string) => readonly string[]): GuardRule => {
  if (remoteGroup === null) return rule;
  const isSix = rule.ethertype === 'IPv6';
  const members = membersOf(remoteGroup).filter((address) => address.includes(':') === isSix);
  return { ...rule, remotePrefixes: members.map((address) => `${address}/${isSix ? 128 : 32}`) };
};

/**
 * What may pass a port, for hypervisors that enforce it themselves; null when port security is off.
 * @param membersOf addresses of the members of a security group, as they are now
 */
export const guardOf = (
  { portSecurity, mac, fixedIps, allowedPairs, rules }: PortPlug,
  membersOf: (group: string) => readonly string[],
): PortGuard | null =>
  portSecurity
    ? {
        addresses: [
          ...fixedIps.map(({ address }) => ({ mac, ip: address })),
          ...allowedPairs.map((pair) => ({ mac: pair.mac, ip: pair.address })),
        ],
        rules: rules.map((rule) => resolved(rule, membersOf)),
      }
    : null;
