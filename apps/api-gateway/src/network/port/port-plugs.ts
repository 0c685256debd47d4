import type { hostBus } from '@omnivisor/contracts';
import type { RowReader } from '@omnivisor/eventsourcing';
import { serverTable } from '../../compute/server/server.projection.js';
import { sumOfAddresses } from '../common/cidr-sum.js';
import { networkTable } from '../network/network.projection.js';
import { protocolNumber, rangeOf } from '../security-group/rules.js';
import { securityGroupTable } from '../security-group/security-group.projection.js';
import { portTable } from './port.projection.js';
import { groupPortsTable } from './port-outlines.projection.js';

/** The ports of servers as their hosts plug them, in the order in which the servers got them. */
export const portPlugs = async (
  rows: RowReader,
  serverIds: readonly string[],
): Promise<Map<string, hostBus.PortPlug[]>> => {
  const plugs = new Map<string, hostBus.PortPlug[]>();
  if (serverIds.length === 0) return plugs;
  const ports = await rows.find(portTable, { where: { serverId: { in: [...serverIds] } } });
  const order = new Map<string, { readonly index: number; readonly tag: string | null }>();
  for (const server of (await rows.getMany(serverTable, serverIds)).values())
    for (const [index, { portId, tag }] of (server.ports ?? []).entries()) order.set(portId, { index, tag });
  ports.sort((a, b) => (order.get(a.id)?.index ?? 0) - (order.get(b.id)?.index ?? 0));
  const groups = await rows.getMany(securityGroupTable, [...new Set(ports.flatMap((p) => [...p.securityGroups]))]);
  const networks = await rows.getMany(networkTable, [...new Set(ports.map((p) => p.networkId as string))]);
  const remote = [...new Set([...groups.values()].flatMap((g) => [...g.remoteGroups]))];
  const members = new Map<string, string[]>();
  for (const [id, row] of await rows.getMany(groupPortsTable, remote))
    members.set(id, sumOfAddresses(Object.values(row.ports).flatMap((p) => [...p.addresses])));

  const rulesOf = (groupIds: readonly string[]): hostBus.SecurityRule[] =>
    groupIds.flatMap((id) =>
      (groups.get(id)?.rules ?? []).map((rule) => {
        const number = protocolNumber(rule.protocol);
        const isV6 = rule.ethertype === 'IPv6';
        return {
          direction: rule.direction,
          ethertype: rule.ethertype,
          // ICMP written for IPv6 means ICMPv6.
          protocol: number === null ? null : isV6 && number === 1 ? '58' : `${number}`,
          portMin: rule.portMin,
          portMax: rule.portMax,
          remotePrefixes:
            rule.remoteGroup !== null
              ? (members.get(rule.remoteGroup) ?? []).filter((p) => p.includes(':') === isV6)
              : [rangeOf(rule) ?? (isV6 ? '::/0' : '0.0.0.0/0')],
        };
      }),
    );

  for (const port of ports) {
    const { attributes } = port;
    const plug: hostBus.PortPlug = {
      portId: port.id,
      networkId: port.networkId,
      mac: attributes.mac,
      mtu: networks.get(port.networkId)?.attributes.mtu ?? 1500,
      adminUp: attributes.adminUp && (networks.get(port.networkId)?.attributes.adminUp ?? true),
      portSecurity: attributes.portSecurity,
      fixedIps: attributes.fixedIps,
      allowedPairs: attributes.allowedAddressPairs.map((p) => ({ mac: p.mac ?? attributes.mac, address: p.address })),
      securityGroups: attributes.securityGroups,
      rules: attributes.portSecurity ? rulesOf(port.securityGroups) : [],
      tag: order.get(port.id)?.tag ?? null,
    };
    const list = plugs.get(port.serverId!) ?? [];
    list.push(plug);
    plugs.set(port.serverId!, list);
  }
  return plugs;
};
