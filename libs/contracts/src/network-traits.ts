import type { NetworkNeed } from './events/provider.js';

const need = (trait: string, constraint: string, wanted: string): NetworkNeed => ({
  trait: `CUSTOM_OMNIVISOR_${trait}`,
  constraint,
  wanted,
});

/** What hosts differ in of networks. A port whose host cannot keep its guest to it is refused, never open. */
export const networkNeeds = {
  local: need('NET_LOCAL', 'local networks', 'networks of the host itself'),
  antiSpoofing: need('ANTI_SPOOFING', 'port security', 'guests kept to their addresses'),
  otherMacs: need('ANTI_SPOOFING_MACS', 'allowed address pairs', 'senders with other MAC addresses'),
  prefixes: need('ANTI_SPOOFING_PREFIXES', 'allowed address pairs', 'senders by network'),
  guardedIpv6: need('ANTI_SPOOFING_IPV6', 'port security', 'IPv6 guests kept to their addresses'),
  securityGroups: need('SECURITY_GROUPS', 'security groups', 'rules that keep something out'),
} as const satisfies Record<string, NetworkNeed>;

/** The trait of hosts that reach a physical network, as Neutron's agents name it. */
export const physicalNetworkTrait = (physicalNetwork: string): string =>
  `CUSTOM_PHYSNET_${physicalNetwork.toUpperCase().replace(/[^A-Z0-9_]/g, '_')}`;

export const physicalNetworkNeed = (physicalNetwork: string): NetworkNeed => ({
  trait: physicalNetworkTrait(physicalNetwork),
  constraint: `physical network ${physicalNetwork}`,
  wanted: 'a host that reaches it',
});
