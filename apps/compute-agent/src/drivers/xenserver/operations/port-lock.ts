import { isIPv4, isIPv6 } from 'node:net';
import { letsAllPass } from '../../common/open-rules.js';
import { type GuestNic, HypervisorError } from '../../hypervisor-driver.js';

/** What a VIF says of who its guest may be. */
export interface VifLock {
  readonly locking_mode: string;
  readonly ipv4_allowed: readonly string[];
  readonly ipv6_allowed: readonly string[];
}

/** As a port has it. */
export interface PortLock extends VifLock {
  readonly locking_mode: 'locked' | 'unlocked';
}

const refuse = (why: string): never => {
  throw new HypervisorError('unsupported', `this pool cannot enforce what port security asks for: ${why}`);
};

/** One address: a locked VIF knows no networks. */
const single = (ip: string): string => {
  const [address, length] = ip.split('/') as [string, string | undefined];
  const whole = isIPv4(address) ? '32' : isIPv6(address) ? '128' : null;
  if (whole === null || (length !== undefined && length !== whole)) refuse(`senders by network (${ip})`);
  return address;
};

/**
 * Anti-spoofing is what a virtual switch of the pool has: a locked VIF sends from its MAC and its addresses only. It has no
 * stateful filter, so security groups that keep anything out, or in, are refused.
 */
export const lockOf = ({ mac, guard }: GuestNic): PortLock => {
  if (!guard) return { locking_mode: 'unlocked', ipv4_allowed: [], ipv6_allowed: [] };
  const families = new Set(guard.addresses.map(({ ip }) => (ip.includes(':') ? 'IPv6' : 'IPv4')));
  for (const family of families)
    for (const direction of ['ingress', 'egress'] as const)
      if (!letsAllPass(guard.rules, direction, family))
        refuse(`its security groups do not let all ${family} ${direction} pass`);
  const other = guard.addresses.find((sender) => sender.mac.toLowerCase() !== mac.toLowerCase());
  if (other) refuse(`a sender with another MAC (${other.mac})`);
  const addresses = [...new Set(guard.addresses.map(({ ip }) => single(ip)))];
  return {
    locking_mode: 'locked',
    ipv4_allowed: addresses.filter(isIPv4),
    ipv6_allowed: addresses.filter(isIPv6),
  };
};

/** The same senders, whatever their order. */
export const sameLock = (a: VifLock, b: VifLock): boolean =>
  a.locking_mode === b.locking_mode &&
  [...a.ipv4_allowed].sort().join() === [...b.ipv4_allowed].sort().join() &&
  [...a.ipv6_allowed].sort().join() === [...b.ipv6_allowed].sort().join();
