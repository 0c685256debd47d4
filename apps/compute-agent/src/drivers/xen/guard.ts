import type { ServerId } from '@omnivisor/contracts';
import { answerChain, chainId, type FilteredPort, ownOf, spoofChain } from '../common/nft/anti-spoofing.js';
import { groupChain, reachChain } from '../common/nft/security-groups.js';
import { checked, isV6, mac as macAddress, uuid } from '../common/nft/values.js';
import { HypervisorError } from '../hypervisor-driver.js';
import type { Definition, Nic } from './definition.js';

/** What xl calls dom0's end of an interface, before it joins its bridge; a device's name has 15 characters at most. */
export const deviceOf = (portId: string): string => `ov${uuid(portId).replaceAll('-', '').slice(0, 13)}`;

/** An interface as scripts of dom0 are told of it: its address as the guest sees it, and its device in dom0. */
export const asPlugged = ({ portId, mac }: Nic): string => `${mac}/${deviceOf(portId)}`;

/** Tables of a guest, one in each family. */
export const tableOf = (id: ServerId): string => `omnivisor_${id.replaceAll('-', '_')}`;

/** What Neutron lets in whatever the rules are: answers of DHCP, and routers. Guarded guests send none of these. */
const INFRASTRUCTURE = [
  'meta nfproto ipv4 udp sport 67 udp dport 68',
  'meta nfproto ipv6 udp sport 547 udp dport 546',
  'icmpv6 type { nd-router-advert, mld-listener-query }',
];
const INFRASTRUCTURE_FRAMES = [
  'ether type ip udp sport 67 udp dport 68 accept',
  'ether type ip6 udp sport 547 udp dport 546 accept',
  'ether type ip6 icmpv6 type { nd-router-advert, mld-listener-query } accept',
];
const NEIGHBOURS = 'icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } return';

const bridgeName = checked('bridge', (name) => /^[\w.-]{1,15}$/.test(name));

const filtered = (nic: Nic): FilteredPort[] => {
  const { guard, mac, portId } = nic;
  if (!guard || guard.cutOff) return [];
  const rules = guard.rules.map((rule) => ({ ...rule, remoteGroup: null }));
  const allowedPairs = guard.addresses.map((pair) => ({ mac: pair.mac.toLowerCase(), address: pair.ip }));
  return [{ plug: { portId, mac, fixedIps: [], allowedPairs, rules }, tap: deviceOf(portId) }];
};

/**
 * Matches what passes an interface: its device, or one that has the name that Xen gives and so another after each reset,
 * which its MAC tells then.
 */
const passing = ({ portId, mac }: Nic, device: 'iifname' | 'oifname', side: 'saddr' | 'daddr'): string[] => [
  `${device} "${deviceOf(portId)}"`,
  `${device} "vif*" ether ${side} ${macAddress(mac)}`,
];

/** @param cut interfaces that nothing passes */
const bridgeTable = (ports: readonly FilteredPort[], cut: readonly Nic[]): string[] => [
  ...ports.flatMap((port) => [...answerChain(port), ...spoofChain(port), ...reachChain(port, INFRASTRUCTURE_FRAMES)]),
  'chain prerouting {',
  'type filter hook prerouting priority -300; policy accept;',
  ...cut.flatMap((nic) => passing(nic, 'iifname', 'saddr')).map((match) => `${match} drop`),
  ...ports.map(({ tap, plug }) => `iifname "${tap}" jump from_${chainId(plug.portId)}`),
  '}',
  // After the stateful chains, which the bridge calls at priority -1; what dom0 sends itself goes by the other hook.
  ...(['forward', 'output'] as const).flatMap((hook) => [
    `chain ${hook} {`,
    `type filter hook ${hook} priority 10; policy accept;`,
    ...cut.flatMap((nic) => passing(nic, 'oifname', 'daddr')).map((match) => `${match} drop`),
    ...ports.map(({ tap, plug }) => `oifname "${tap}" jump to_${chainId(plug.portId)}`),
    '}',
  ]),
];

/** Judged by bridge and address, which the bridge table has pinned to the port: frames have lost their device here. */
const statefulTable = (ports: readonly FilteredPort[], nics: readonly Nic[]): string[] => {
  const nicOf = new Map(nics.map((nic) => [nic.portId, nic]));
  const each = (line: (nic: Nic, match: (side: 'saddr' | 'daddr') => string, id: string) => readonly string[]) =>
    ports.flatMap(({ plug }) => {
      const { v4, v6 } = ownOf(plug);
      return [...v4, ...v6].flatMap((address) =>
        line(
          nicOf.get(plug.portId)!,
          (side) => `${isV6(address) ? 'ip6' : 'ip'} ${side} ${address}`,
          chainId(plug.portId),
        ),
      );
    });
  const sent = each((nic, own, id) => [`iifname "${bridgeName(nic.bridge)}" ${own('saddr')} jump sent_${id}`]);
  const reached = each((nic, own, id) => [`oifname "${bridgeName(nic.bridge)}" ${own('daddr')} jump reached_${id}`]);
  const zones = (device: 'iifname' | 'oifname') =>
    each(({ bridge, zone }, own) =>
      (['saddr', 'daddr'] as const).map((side) => `${device} "${bridgeName(bridge)}" ${own(side)} ct zone set ${zone}`),
    );
  return [
    ...ports.flatMap((port) => {
      const id = chainId(port.plug.portId);
      const known = ['ct state established,related return', 'ct state invalid drop', NEIGHBOURS];
      return [
        ...groupChain('out', port),
        ...groupChain('in', port),
        `chain sent_${id} {`,
        ...known,
        `goto out_${id}`,
        '}',
        `chain reached_${id} {`,
        ...known,
        ...INFRASTRUCTURE.map((match) => `${match} return`),
        `goto in_${id}`,
        '}',
      ];
    }),
    // Before connections are looked up.
    ...['chain prerouting {', 'type filter hook prerouting priority -300; policy accept;', ...zones('iifname'), '}'],
    ...['chain send {', 'type filter hook output priority -300; policy accept;', ...zones('oifname'), '}'],
    ...['chain forward {', 'type filter hook forward priority 0; policy accept;', ...sent, ...reached, '}'],
    ...['chain input {', 'type filter hook input priority 0; policy accept;', ...sent, '}'],
    ...['chain output {', 'type filter hook output priority 0; policy accept;', ...reached, '}'],
  ];
};

/**
 * The filter of a guest's guarded ports, for nft in dom0: takes the place of what is there of it in one transaction.
 * Empty when none is guarded.
 * @throws HypervisorError `unsupported` for a guard that is not what it should be
 */
export const guardOf = (id: ServerId, nics: readonly Nic[]): string => {
  try {
    const ports = nics.flatMap(filtered);
    const cut = nics.filter(({ guard }) => guard?.cutOff);
    if (ports.length + cut.length === 0) return '';
    const table = tableOf(id);
    return [
      ...(['bridge', 'inet'] as const).flatMap((family) => [
        `add table ${family} ${table}`,
        `delete table ${family} ${table}`,
        `table ${family} ${table} {`,
        ...(family === 'bridge' ? bridgeTable(ports, cut) : statefulTable(ports, nics)),
        '}',
      ]),
    ].join('\n');
  } catch (error) {
    throw new HypervisorError('unsupported', 'Xen cannot serve the guard of a port', String(error), { cause: error });
  }
};

/**
 * What scripts of dom0 are told of it: the bytes of the filter, which is their input as it may be long, and the interfaces
 * whose devices have to be there for it to hold.
 * @param runs those that are cut off hold without it by then
 */
export const guarding = ({ serverId, nics }: Pick<Definition, 'serverId' | 'nics'>, runs = false) => {
  const input = Buffer.from(guardOf(serverId, nics));
  const guarded = nics.filter(({ guard }) => guard && !(runs && guard.cutOff)).map(asPlugged);
  return { args: [String(input.length), guarded.join(' ')], input };
};
