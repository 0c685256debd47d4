import type { SecurityGroupId, SecurityGroupRule, SecurityGroupRuleId } from '@omnivisor/contracts';
import { canonicalCidr } from '../common/addresses.js';

/** Protocol names that Neutron takes, with their numbers. */
export const PROTOCOLS: Readonly<Record<string, number>> = {
  ah: 51,
  dccp: 33,
  egp: 8,
  esp: 50,
  gre: 47,
  icmp: 1,
  icmpv6: 58,
  igmp: 2,
  'ipv6-icmp': 58,
  'ipv6-encap': 41,
  'ipv6-frag': 44,
  'ipv6-nonxt': 59,
  'ipv6-opts': 60,
  'ipv6-route': 43,
  ipip: 4,
  ospf: 89,
  pgm: 113,
  rsvp: 46,
  sctp: 132,
  tcp: 6,
  udp: 17,
  udplite: 136,
  vrrp: 112,
};

/** The number of a protocol as Neutron writes it; null means any. */
export const protocolNumber = (protocol: string | null): number | null => {
  if (protocol === null || protocol === 'any' || protocol === '0') return null;
  return PROTOCOLS[protocol] ?? Number(protocol);
};

/** The range that a rule names; null for any. */
export const rangeOf = ({ remotePrefix }: SecurityGroupRule): string | null =>
  remotePrefix === null ? null : canonicalCidr(remotePrefix);

/** The rules allow the same. */
export const sameRule = (a: SecurityGroupRule, b: SecurityGroupRule): boolean =>
  a.direction === b.direction &&
  a.ethertype === b.ethertype &&
  protocolNumber(a.protocol) === protocolNumber(b.protocol) &&
  a.portMin === b.portMin &&
  a.portMax === b.portMax &&
  rangeOf(a) === rangeOf(b) &&
  a.remoteGroup === b.remoteGroup;

const anything = {
  protocol: null,
  portMin: null,
  portMax: null,
  remotePrefix: null,
  remoteGroup: null,
  description: '',
};

/** What every new group allows: everything out. */
export const egressRules = (id: (name: string) => string): SecurityGroupRule[] =>
  (['IPv4', 'IPv6'] as const).map((ethertype) => ({
    ...anything,
    id: id(`egress ${ethertype}`) as SecurityGroupRuleId,
    direction: 'egress',
    ethertype,
  }));

/** What a project's default group allows beyond that: everything in from its own members. */
export const memberRules = (group: SecurityGroupId, id: (name: string) => string): SecurityGroupRule[] =>
  (['IPv4', 'IPv6'] as const).map((ethertype) => ({
    ...anything,
    id: id(`ingress ${ethertype}`) as SecurityGroupRuleId,
    direction: 'ingress',
    ethertype,
    remoteGroup: group,
  }));
