import type { hostBus } from '@omnivisor/contracts';
import type { RowReader } from '@omnivisor/eventsourcing';
import type { ServerRow } from '../../compute/server/view/server.projection.js';
import { settled } from '../../core/settled.js';
import { networkTable } from '../network/network.projection.js';
import { protocolNumber, rangeOf } from '../security-group/rules.js';
import { type SecurityGroupRow, securityGroupTable } from '../security-group/security-group.projection.js';
import { portTable } from './port.projection.js';

/** A server and its ports, in the order in which it got them. */
type Plugged = Pick<ServerRow, 'id' | 'ports'>;

/** Hosts keep state of what they let through: a group that forbids that lets nothing through. */
const rulesIn = (group: SecurityGroupRow | undefined) => (group?.stateful ? group.rules : []);

/** The ports of servers as their hosts plug them. */
export const portPlugs = async (
  rows: RowReader,
  servers: readonly Plugged[],
): Promise<Map<string, hostBus.PortPlug[]>> => {
  const plugs = new Map<string, hostBus.PortPlug[]>();
  const order = new Map<string, { readonly index: number; readonly tag: string | null }>();
  for (const server of servers)
    for (const [index, { portId, tag }] of (server.ports ?? []).entries()) order.set(portId, { index, tag });
  if (order.size === 0) return plugs;
  const ports = [...(await rows.getMany(portTable, [...order.keys()])).values()];
  ports.sort((a, b) => order.get(a.id)!.index - order.get(b.id)!.index);
  const [groups, networks] = await settled([
    rows.getMany(securityGroupTable, [...new Set(ports.flatMap((p) => [...p.securityGroups]))]),
    rows.getMany(networkTable, [...new Set(ports.map((p) => p.networkId as string))]),
  ]);

  const rulesOf = (groupIds: readonly string[]): hostBus.SecurityRule[] =>
    groupIds.flatMap((id) =>
      rulesIn(groups.get(id)).map((rule) => {
        const number = protocolNumber(rule.protocol);
        const isV6 = rule.ethertype === 'IPv6';
        return {
          direction: rule.direction,
          ethertype: rule.ethertype,
          // ICMP written for IPv6 means ICMPv6.
          protocol: number === null ? null : isV6 && number === 1 ? '58' : `${number}`,
          portMin: rule.portMin,
          portMax: rule.portMax,
          remotePrefixes: rule.remoteGroup === null ? [rangeOf(rule) ?? (isV6 ? '::/0' : '0.0.0.0/0')] : [],
          remoteGroup: rule.remoteGroup,
        };
      }),
    );

  for (const port of ports) {
    const { attributes, serverId } = port;
    if (serverId === null) continue;
    const plug: hostBus.PortPlug = {
      portId: port.id,
      networkId: port.networkId,
      mac: attributes.mac,
      mtu: networks.get(port.networkId)?.attributes.mtu ?? 1500,
      adminUp: attributes.adminUp && (networks.get(port.networkId)?.attributes.adminUp ?? true),
      portSecurity: attributes.portSecurity,
      hostname: port.hostname,
      fixedIps: attributes.fixedIps,
      allowedPairs: attributes.allowedAddressPairs.map((p) => ({ mac: p.mac ?? attributes.mac, address: p.address })),
      securityGroups: attributes.securityGroups,
      rules: attributes.portSecurity ? rulesOf(port.securityGroups) : [],
      dhcpOptions: [...attributes.extraDhcpOptions],
      tag: order.get(port.id)?.tag ?? null,
    };
    const list = plugs.get(serverId) ?? [];
    list.push(plug);
    plugs.set(serverId, list);
  }
  return plugs;
};
