import type { hostBus } from '@omnivisor/contracts';
import ipaddr from 'ipaddr.js';
import { address, addressOrCidr, isV6, mac, uuid } from './values.js';

/** What a filter is made of: a port and its rules. */
export type FilteredPlug = Pick<hostBus.PortPlug, 'mac' | 'fixedIps' | 'allowedPairs' | 'rules'> & {
  readonly portId: string;
};

export interface FilteredPort<Plug = FilteredPlug> {
  readonly plug: Plug;
  /** The device that carries it. */
  readonly tap: string;
}

/** A port's id as a part of names of chains. */
export const chainId = (portId: string) => uuid(portId).replaceAll('-', '_');
export const set = (members: readonly string[]) => `{ ${members.join(', ')} }`;

/** The link-local address that a guest makes of its MAC. */
export const linkLocal = (of: string): string => {
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = mac(of)
    .split(':')
    .map((o) => Number.parseInt(o, 16));
  const hex = (x: number, y: number) => ((x << 8) | y).toString(16);
  return ipaddr.IPv6.parse(`fe80::${hex(a ^ 2, b)}:${hex(c, 0xff)}:${hex(0xfe, d)}:${hex(e, f)}`).toString();
};

/** What a port may send from: MACs, IPv4 addresses, and IPv6 addresses with those that guests make themselves. */
export const ownOf = (plug: FilteredPlug): { macs: string[]; v4: string[]; v6: string[] } => {
  const macs = [...new Set([plug.mac, ...plug.allowedPairs.map((p) => p.mac)].map(mac))];
  const own = [
    ...plug.fixedIps.map((ip) => address(ip.address)),
    ...plug.allowedPairs.map((p) => addressOrCidr(p.address)),
  ];
  return {
    macs,
    v4: [...new Set(own.filter((a) => !isV6(a)))],
    v6: [...new Set([...own.filter(isV6), ...macs.map(linkLocal)])],
  };
};

const hex = (bytes: readonly number[]) => `0x${bytes.map((b) => b.toString(16).padStart(2, '0')).join('')}`;

/** The address that a neighbour solicitation or advertisement is about; nft 1.0.6 has no name for the field. */
const isAbout = (addressOrPrefix: string): string => {
  const [base = '', prefix = '128'] = addressOrPrefix.split('/');
  const mask = ipaddr.IPv6.subnetMaskFromPrefixLength(Number(prefix)).toByteArray();
  const value = ipaddr.IPv6.parse(base)
    .toByteArray()
    .map((b, i) => b & mask[i]!);
  return prefix === '128' ? `@th,64,128 ${hex(value)}` : `@th,64,128 & ${hex(mask)} == ${hex(value)}`;
};

/** Nothing leaves a port with a MAC, IP, ARP or ND sender that is not its own. One rule each: intervals in a set must not overlap. */
export const spoofChain = ({ plug }: FilteredPort): string[] => {
  const { macs, v4, v6 } = ownOf(plug);
  return [
    `chain from_${chainId(plug.portId)} {`,
    `ether saddr != ${set(macs)} counter drop`,
    'ether type arp arp saddr ether 00:00:00:00:00:00 counter drop',
    `ether type arp arp saddr ether != ${set(macs)} counter drop`,
    'ether type arp arp saddr ip 0.0.0.0 accept',
    ...v4.map((a) => `ether type arp arp saddr ip ${a} accept`),
    'ether type ip ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept',
    'ether type ip udp sport 67 udp dport 68 counter drop',
    ...v4.map((a) => `ether type ip ip saddr ${a} accept`),
    'ether type ip6 icmpv6 type { nd-router-advert, nd-redirect, mld-listener-query } counter drop',
    'ether type ip6 udp sport 547 udp dport 546 counter drop',
    'ether type ip6 ip6 saddr :: icmpv6 type { nd-router-solicit, mld2-listener-report } accept',
    // Whether an address is taken is asked from nowhere; only for one's own, or others could never take theirs.
    ...v6.map((a) => `ether type ip6 ip6 saddr :: icmpv6 type nd-neighbor-solicit ${isAbout(a)} accept`),
    `ether type ip6 icmpv6 type nd-neighbor-advert jump about_${chainId(plug.portId)}`,
    ...v6.map((a) => `ether type ip6 ip6 saddr ${a} accept`),
    'counter drop',
    '}',
  ];
};

/** An answer tells of one's own addresses only. Goes before the chain that jumps to it. */
export const answerChain = ({ plug }: FilteredPort): string[] => [
  `chain about_${chainId(plug.portId)} {`,
  ...ownOf(plug).v6.map((a) => `${isAbout(a)} return`),
  'counter drop',
  '}',
];
