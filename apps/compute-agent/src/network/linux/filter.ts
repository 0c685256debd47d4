import type { NetworkPlan, PortPlug } from '../network-plug.js';
import { address, addressOrCidr, cidr, isV6, mac, port as portNumber, protocol, uuid } from './values.js';

/** A plugged port and its device. */
export interface FilteredPort {
  readonly plug: PortPlug;
  readonly tap: string;
}

/** Addresses of the members of security groups. */
export type GroupAddresses = ReadonlyMap<string, readonly string[]>;

type Rule = PortPlug['rules'][number];

const id = (portId: string) => uuid(portId).replaceAll('-', '_');
const set = (members: readonly string[]) => `{ ${members.join(', ')} }`;

const v4 = (list: readonly string[]) => list.filter((a) => !isV6(a));
const v6 = (list: readonly string[]) => list.filter(isV6);

/** The link-local address that a guest makes of its MAC. */
const linkLocal = (of: string): string => {
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = of.split(':').map((o) => Number.parseInt(o, 16));
  const hex = (x: number, y: number) => ((x << 8) | y).toString(16);
  return `fe80::${hex(a ^ 2, b)}:${hex(c, 0xff)}:${hex(0xfe, d)}:${hex(e, f)}`;
};

/** One rule each: intervals in one nft set must not overlap. */
const sourceRules = (family: 'ip' | 'ip6', field: 'saddr' | 'saddr ip', addresses: readonly string[]): string[] =>
  addresses.map((a) => `${field === 'saddr' ? `${family} saddr` : 'arp saddr ip'} ${a} accept`);

/** Nothing leaves a port with a MAC, IP or ARP sender that is not its own. */
const spoofChain = ({ plug }: FilteredPort): string[] => {
  const own = [
    ...plug.fixedIps.map((ip) => address(ip.address)),
    ...plug.allowedPairs.map((p) => addressOrCidr(p.address)),
  ];
  const macs = [...new Set([plug.mac, ...plug.allowedPairs.map((p) => p.mac)].map(mac))];
  const ip4 = [...new Set(v4(own))];
  const ip6 = [...new Set([...v6(own), ...macs.map(linkLocal)])];
  return [
    `chain from_${id(plug.portId)} {`,
    `ether saddr != ${set(macs)} counter drop`,
    'ether type arp arp saddr ether 00:00:00:00:00:00 counter drop',
    `ether type arp arp saddr ether != ${set(macs)} counter drop`,
    'ether type arp arp saddr ip 0.0.0.0 accept',
    ...sourceRules('ip', 'saddr ip', ip4).map((r) => `ether type arp ${r}`),
    'ether type ip ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept',
    'ether type ip udp sport 67 udp dport 68 counter drop',
    ...sourceRules('ip', 'saddr', ip4).map((r) => `ether type ip ${r}`),
    'ether type ip6 icmpv6 type nd-router-advert counter drop',
    'ether type ip6 udp sport 547 udp dport 546 counter drop',
    'ether type ip6 ip6 saddr :: icmpv6 type { nd-router-solicit, nd-neighbor-solicit, mld2-listener-report } accept',
    ...sourceRules('ip6', 'saddr', ip6).map((r) => `ether type ip6 ${r}`),
    'counter drop',
    '}',
  ];
};

const ruleLines = (rule: Rule): string[] => {
  const isSix = rule.ethertype === 'IPv6';
  const family = isSix ? 'ip6' : 'ip';
  const side = rule.direction === 'ingress' ? 'saddr' : 'daddr';
  const number = rule.protocol === null ? null : protocol(rule.protocol);
  let match = number === null ? '' : ` meta l4proto ${number}`;
  const { portMin, portMax } = rule;
  if (number === 1 || number === 58) {
    const what = number === 1 ? 'icmp' : 'icmpv6';
    if (portMin !== null) match += ` ${what} type ${portNumber(portMin)}`;
    if (portMax !== null) match += ` ${what} code ${portNumber(portMax)}`;
  } else if (number !== null && (portMin !== null || portMax !== null)) {
    const [low, high] = [portNumber(portMin ?? 0), portNumber(portMax ?? 65535)];
    match += ` th dport ${low === high ? low : `${low}-${high}`}`;
  }
  const line = (from: string) => `meta nfproto ${isSix ? 'ipv6' : 'ipv4'}${from}${match} return`;
  if (rule.remoteGroup !== null) return [line(` ${family} ${side} @${groupSet(rule.remoteGroup, isSix)}`)];
  return rule.remotePrefixes
    .map(cidr)
    .filter((p) => isV6(p) === isSix)
    .map((prefix) => line(prefix.endsWith('/0') ? '' : ` ${family} ${side} ${prefix}`));
};

const groupSet = (groupId: string, isSix: boolean): string => `group${isSix ? 6 : 4}_${id(groupId)}`;

/** Groups that rules of these ports name. */
export const groupsNamed = (ports: readonly { readonly plug: PortPlug }[]): string[] => [
  ...new Set(ports.flatMap(({ plug }) => plug.rules.flatMap((rule) => rule.remoteGroup ?? []))),
];

const groupSets = (ports: readonly FilteredPort[], members: GroupAddresses): string[] =>
  groupsNamed(ports).flatMap((group) =>
    [false, true].flatMap((isSix) => {
      const addresses = [...new Set((members.get(group) ?? []).map(address))].filter((a) => isV6(a) === isSix);
      return [
        `set ${groupSet(group, isSix)} {`,
        `type ${isSix ? 'ipv6_addr' : 'ipv4_addr'}`,
        ...(addresses.length > 0 ? [`elements = ${set(addresses)}`] : []),
        '}',
      ];
    }),
  );

/** A rule that fits returns to the hook; what reaches the end of the chain is dropped. */
const groupChain = (prefix: 'in' | 'out', { plug }: FilteredPort): string[] => [
  `chain ${prefix}_${id(plug.portId)} {`,
  ...new Set(plug.rules.filter((r) => (r.direction === 'ingress') === (prefix === 'in')).flatMap(ruleLines)),
  'counter drop',
  '}',
];

const verdicts = (name: string, family: 'ipv4_addr' | 'ipv6_addr', entries: readonly (readonly [string, string])[]) => [
  `map ${name} {`,
  `type ${family} : verdict`,
  ...(entries.length > 0 ? [`elements = ${set(entries.map(([key, chain]) => `${key} : jump ${chain}`))}`] : []),
  '}',
];

/**
 * The whole filter of one network's namespace: anti-spoofing in the bridge family, stateful security groups in the inet
 * family. The old tables go and the new ones come in one transaction; tracked connections stay.
 */
export const networkFilter = (
  plan: NetworkPlan,
  ports: readonly FilteredPort[],
  outsideAddress: string,
  members: GroupAddresses,
): string => {
  const guarded = ports.filter((p) => p.plug.portSecurity);
  const entries = (prefix: 'in' | 'out', six: boolean) =>
    guarded.flatMap(({ plug }) =>
      plug.fixedIps
        .map((ip) => address(ip.address))
        .filter((a) => isV6(a) === six)
        .map((a) => [a, `${prefix}_${id(plug.portId)}`] as const),
    );
  const subnets = plan.subnets.filter((s) => s.version === 4).map((s) => cidr(s.cidr));
  const jumps = (prefix: 'in' | 'out') => {
    const side = prefix === 'out' ? 'saddr' : 'daddr';
    // Addresses that several ports may share (VRRP) have to pass the rules of each of them.
    const shared = guarded.flatMap(({ plug }) =>
      plug.allowedPairs
        .map((p) => addressOrCidr(p.address))
        .filter((a) => !plug.fixedIps.some((ip) => ip.address === a))
        .map((a) => `${isV6(a) ? 'ip6' : 'ip'} ${side} ${a} jump ${prefix}_${id(plug.portId)}`),
    );
    return [`ip ${side} vmap @${prefix}4`, `ip6 ${side} vmap @${prefix}6`, ...new Set(shared)];
  };
  return [
    'add table bridge omnivisor',
    'delete table bridge omnivisor',
    'table bridge omnivisor {',
    ...guarded.flatMap(spoofChain),
    'chain prerouting {',
    'type filter hook prerouting priority -300; policy accept;',
    ...guarded.map(({ tap, plug }) => `iifname "${tap}" jump from_${id(plug.portId)}`),
    '}',
    '}',
    'add table inet omnivisor',
    'delete table inet omnivisor',
    'table inet omnivisor {',
    ...groupSets(guarded, members),
    ...guarded.flatMap((p) => [...groupChain('out', p), ...groupChain('in', p)]),
    ...verdicts('out4', 'ipv4_addr', entries('out', false)),
    ...verdicts('in4', 'ipv4_addr', entries('in', false)),
    ...verdicts('out6', 'ipv6_addr', entries('out', true)),
    ...verdicts('in6', 'ipv6_addr', entries('in', true)),
    'chain forward {',
    'type filter hook forward priority 0; policy drop;',
    'ct state established,related accept',
    'ct state invalid drop',
    'ip saddr 0.0.0.0 drop',
    'icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept',
    ...jumps('out'),
    ...jumps('in'),
    'accept',
    '}',
    // The network's own side: DHCP, names, metadata and echo, nothing else.
    'chain input {',
    'type filter hook input priority 0; policy drop;',
    'ct state established,related accept',
    'iifname "lo" accept',
    'iifname "br0" udp dport 67 accept',
    'iifname "br0" udp dport 53 accept',
    'iifname "br0" tcp dport 53 accept',
    'iifname "br0" ip daddr 169.254.169.254 tcp dport 80 accept',
    'iifname "br0" icmp type echo-request accept',
    'icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept',
    '}',
    'chain output {',
    'type filter hook output priority 0; policy accept;',
    'ct state established,related accept',
    'udp sport 67 udp dport 68 accept',
    ...jumps('in'),
    '}',
    'chain postrouting {',
    'type nat hook postrouting priority 100; policy accept;',
    ...subnets.map((s) => `oifname "outside" ip saddr ${s} snat ip to ${address(outsideAddress)}`),
    '}',
    '}',
    '',
  ].join('\n');
};

/** Our table in the root namespace: lets the networks out under the machine's own addresses, and nothing in. */
export const rootFilter = (name: string, pool: string, prefix: string): string =>
  [
    `add table ip ${name}`,
    `delete table ip ${name}`,
    `table ip ${name} {`,
    'chain postrouting {',
    'type nat hook postrouting priority 100; policy accept;',
    `ip saddr ${cidr(pool)} oifname != "${prefix}*" masquerade`,
    '}',
    // Guests see the world beyond this machine, not what listens on it.
    'chain input {',
    'type filter hook input priority 0; policy accept;',
    `iifname "${prefix}*" ct state established,related accept`,
    `iifname "${prefix}*" icmp type echo-request accept`,
    `iifname "${prefix}*" drop`,
    '}',
    'chain forward {',
    'type filter hook forward priority 0; policy accept;',
    `iifname "${prefix}*" oifname "${prefix}*" drop`,
    `oifname "${prefix}*" ct state new drop`,
    '}',
    '}',
    '',
  ].join('\n');
