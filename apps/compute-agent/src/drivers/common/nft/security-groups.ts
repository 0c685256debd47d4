import { chainId, type FilteredPlug, type FilteredPort, ownOf, set } from './anti-spoofing.js';
import { address, cidr, isV6, port as portNumber, protocol } from './values.js';

type Rule = FilteredPlug['rules'][number];

/** Addresses of the members of security groups. */
export type GroupAddresses = ReadonlyMap<string, readonly string[]>;

const groupSet = (groupId: string, isSix: boolean): string => `group${isSix ? 6 : 4}_${chainId(groupId)}`;

/** Groups that rules of these ports name. */
export const groupsNamed = (ports: readonly { readonly plug: FilteredPlug }[]): string[] => [
  ...new Set(ports.flatMap(({ plug }) => plug.rules.flatMap((rule) => rule.remoteGroup ?? []))),
];

/** The sets that rules of these ports name, for the table that they stand in. */
export const groupSets = (ports: readonly FilteredPort[], members: GroupAddresses): string[] =>
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

const ruleLines = (rule: Rule, verdict: 'return' | 'accept'): string[] => {
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
  const line = (from: string) => `meta protocol ${family}${from}${match} ${verdict}`;
  if (rule.remoteGroup !== null) return [line(` ${family} ${side} @${groupSet(rule.remoteGroup, isSix)}`)];
  return rule.remotePrefixes
    .map(cidr)
    .filter((p) => isV6(p) === isSix)
    .map((prefix) => line(prefix.endsWith('/0') ? '' : ` ${family} ${side} ${prefix}`));
};

const lines = ({ plug }: FilteredPort, direction: Rule['direction'], verdict: 'return' | 'accept') => [
  ...new Set(plug.rules.filter((r) => r.direction === direction).flatMap((r) => ruleLines(r, verdict))),
];

/** The rules of a port in the stateful chain: one that fits returns to the hook; what reaches the end is dropped. */
export const groupChain = (prefix: 'in' | 'out', port: FilteredPort): string[] => [
  `chain ${prefix}_${chainId(port.plug.portId)} {`,
  ...lines(port, prefix === 'in' ? 'ingress' : 'egress', 'return'),
  'counter drop',
  '}',
];

/**
 * What may leave the bridge at a port's device. The stateful chain judges by addresses: here it is made sure that what
 * comes to the port is for its own address, and so was judged by its rules. What is for many has no address of its own
 * and no state: the rules are looked at here.
 * @param also what reaches the port whatever its rules say
 */
export const reachChain = (port: FilteredPort, also: readonly string[] = []): string[] => {
  const { v4, v6 } = ownOf(port.plug);
  return [
    `chain many_${chainId(port.plug.portId)} {`,
    ...lines(port, 'ingress', 'accept'),
    'counter drop',
    '}',
    `chain to_${chainId(port.plug.portId)} {`,
    'ether type arp accept',
    'ether type ip6 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept',
    ...also,
    `meta pkttype { broadcast, multicast } goto many_${chainId(port.plug.portId)}`,
    ...v4.map((a) => `ether type ip ip daddr ${a} accept`),
    ...v6.map((a) => `ether type ip6 ip6 daddr ${a} accept`),
    'counter drop',
    '}',
  ];
};
