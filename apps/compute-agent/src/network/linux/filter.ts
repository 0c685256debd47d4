import {
  answerChain,
  chainId,
  type FilteredPort,
  linkLocal,
  ownOf,
  set,
  spoofChain,
} from '../../drivers/common/nft/anti-spoofing.js';
import { type GroupAddresses, groupChain, groupSets, reachChain } from '../../drivers/common/nft/security-groups.js';
import { address, cidr, isV6 } from '../../drivers/common/nft/values.js';
import type { NetworkPlan, PortPlug } from '../network-plug.js';

/** Where guests ask for metadata: the address of all clouds, and Neutron's for those without IPv4. */
export const METADATA_ADDRESS = '169.254.169.254';
export const METADATA_ADDRESS_6 = 'fe80::a9fe:a9fe';

/** An address that a port left behind and another one has now is the newer one's. */
const verdicts = (name: string, family: 'ipv4_addr' | 'ipv6_addr', entries: readonly (readonly [string, string])[]) => {
  const elements = [...new Map(entries)].map(([key, chain]) => `${key} : goto ${chain}`);
  return [
    `map ${name} {`,
    `type ${family} : verdict`,
    ...(elements.length > 0 ? [`elements = ${set(elements)}`] : []),
    '}',
  ];
};

/**
 * The whole filter of one network's namespace: anti-spoofing in the bridge family, stateful security groups in the inet
 * family. The old tables go and the new ones come in one transaction; tracked connections stay.
 */
export const networkFilter = (
  plan: NetworkPlan,
  ports: readonly FilteredPort<PortPlug>[],
  outsideAddress: string,
  members: GroupAddresses,
): string => {
  const guarded = ports.filter((p) => p.plug.portSecurity);
  /** A port whose guest is on its way between two agents of the machine has two devices, and one set of rules. */
  const ruled = [...new Map(guarded.map((p) => [p.plug.portId, p])).values()];
  /** Addresses that only one port can have; the stateful chain finds its rules by them. */
  const alone = (plug: PortPlug) => [...plug.fixedIps.map((ip) => address(ip.address)), linkLocal(plug.mac)];
  const entries = (prefix: 'in' | 'out', six: boolean) =>
    guarded.flatMap(({ plug }) =>
      alone(plug)
        .filter((a) => isV6(a) === six)
        .map((a) => [a, `${prefix}_${chainId(plug.portId)}`] as const),
    );
  /** Those that leave by the machine. */
  const subnets = (plan.provider ? [] : plan.subnets).filter((s) => s.version === 4).map((s) => cidr(s.cidr));
  /** The rules of the port whose address it is; of an address that several ports may share (VRRP), those of each of them. */
  const judge = (prefix: 'in' | 'out') => {
    const side = prefix === 'out' ? 'saddr' : 'daddr';
    const shared = guarded.flatMap(({ plug }) => {
      const { v4, v6 } = ownOf(plug);
      return [...v4, ...v6]
        .filter((a) => !alone(plug).includes(a))
        .map((a) => `${isV6(a) ? 'ip6' : 'ip'} ${side} ${a} jump ${prefix}_${chainId(plug.portId)}`);
    });
    return [
      `chain judge_${prefix} {`,
      `ip ${side} vmap @${prefix}4`,
      `ip6 ${side} vmap @${prefix}6`,
      ...new Set(shared),
      '}',
    ];
  };
  return [
    'add table bridge omnivisor',
    'delete table bridge omnivisor',
    'table bridge omnivisor {',
    ...groupSets(ruled, members),
    ...ruled.flatMap((port) => [...answerChain(port), ...spoofChain(port), ...reachChain(port)]),
    'chain prerouting {',
    'type filter hook prerouting priority -300; policy accept;',
    ...guarded.map(({ tap, plug }) => `iifname "${tap}" jump from_${chainId(plug.portId)}`),
    '}',
    // After the stateful chain, which the bridge calls at priority -1.
    'chain forward {',
    'type filter hook forward priority 10; policy accept;',
    ...guarded.map(({ tap, plug }) => `oifname "${tap}" jump to_${chainId(plug.portId)}`),
    '}',
    '}',
    'add table inet omnivisor',
    'delete table inet omnivisor',
    'table inet omnivisor {',
    ...groupSets(ruled, members),
    ...ruled.flatMap((p) => [...groupChain('out', p), ...groupChain('in', p)]),
    ...verdicts('out4', 'ipv4_addr', entries('out', false)),
    ...verdicts('in4', 'ipv4_addr', entries('in', false)),
    ...verdicts('out6', 'ipv6_addr', entries('out', true)),
    ...verdicts('in6', 'ipv6_addr', entries('in', true)),
    ...judge('out'),
    ...judge('in'),
    'chain forward {',
    'type filter hook forward priority 0; policy drop;',
    'ct state established,related accept',
    'ct state invalid drop',
    'ip saddr 0.0.0.0 drop',
    'icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept',
    'jump judge_out',
    'jump judge_in',
    'accept',
    '}',
    // The network's own side: DHCP, names, metadata and echo, nothing else.
    'chain input {',
    'type filter hook input priority 0; policy drop;',
    'ct state established,related accept',
    'iifname "lo" accept',
    'iifname "br0" udp dport { 53, 67, 547 } accept',
    'iifname "br0" tcp dport 53 accept',
    `iifname "br0" ip daddr ${METADATA_ADDRESS} tcp dport 80 accept`,
    `iifname "br0" ip6 daddr ${METADATA_ADDRESS_6} tcp dport 80 accept`,
    'iifname "br0" icmp type echo-request accept',
    'iifname "br0" icmpv6 type { echo-request, nd-router-solicit, mld2-listener-report } accept',
    'icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept',
    '}',
    'chain output {',
    'type filter hook output priority 0; policy accept;',
    'ct state established,related accept',
    'udp sport 67 udp dport 68 accept',
    'udp sport 547 udp dport 546 accept',
    'icmpv6 type { nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } accept',
    'jump judge_in',
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
