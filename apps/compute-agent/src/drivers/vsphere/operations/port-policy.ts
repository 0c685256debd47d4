import { letsAllPass } from '../../common/open-rules.js';
import { type GuestNic, HypervisorError } from '../../hypervisor-driver.js';
import type { AnswerObject } from '../transport/soap.js';

const refuse = (why: string): never => {
  throw new HypervisorError('unsupported', `this host cannot enforce what port security asks for: ${why}`);
};

/**
 * A port group keeps guests to the MAC addresses of their cards, and knows nothing of IP: no addresses, no filter. So a
 * guarded port is refused unless nothing is asked for beyond that.
 * @returns whether the port group has to keep the guest to its MAC address
 */
export const needsMacPolicy = ({ mac, guard }: Pick<GuestNic, 'mac' | 'guard'>): boolean => {
  if (!guard) return false;
  const other = guard.addresses.find((sender) => sender.mac.toLowerCase() !== mac.toLowerCase());
  if (other) refuse(`a sender with another MAC (${other.mac})`);
  const narrow = guard.addresses.find(({ ip }) => !ip.endsWith('/0'));
  if (narrow) refuse(`senders by address (${narrow.ip})`);
  for (const family of ['IPv4', 'IPv6'] as const)
    for (const direction of ['ingress', 'egress'] as const)
      if (!letsAllPass(guard.rules, direction, family))
        refuse(`its security groups do not let all ${family} ${direction} pass`);
  return true;
};

/** A setting of a standard switch is a value, that of a distributed one an object with it. */
const isOff = (setting: AnswerObject[string]): boolean =>
  String((setting as AnswerObject | undefined)?.value ?? setting) === 'false';

/** Whether guests of a port group can be nobody but the MAC addresses of their cards, and hear nothing that is not theirs. */
export const keepsToMac = (security: AnswerObject | undefined): boolean =>
  security !== undefined &&
  isOff(security.macChanges) &&
  isOff(security.forgedTransmits) &&
  isOff(security.allowPromiscuous);
