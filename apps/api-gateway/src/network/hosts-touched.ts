import type { NetworkEvent, PortEvent, RecordedEvent, SecurityGroupEvent, SubnetEvent } from '@omnivisor/contracts';
import type { RowReader } from '@omnivisor/eventsourcing';
import { groupPortsTable, networkPortsTable, outlinesOf, type PortsRow } from './port/port-outlines.projection.js';
import { securityGroupTable } from './security-group/security-group.projection.js';
import { subnetTable } from './subnet/subnet.projection.js';

const hostsOf = (rows: Iterable<PortsRow | undefined>): string[] => {
  const hosts = new Set<string>();
  for (const row of rows)
    for (const { hostId } of Object.values(row?.ports ?? {})) if (hostId !== null) hosts.add(hostId);
  return [...hosts];
};

/** Hosts of the ports whose rules name the members of these groups. */
const hostsThatTrust = async (rows: RowReader, groups: readonly string[]): Promise<string[]> => {
  const trusting = new Set<string>();
  for (const id of groups)
    for (const row of await rows.find(securityGroupTable, { where: { remoteGroups: { contains: id } } }))
      trusting.add(row.id);
  return hostsOf((await rows.getMany(groupPortsTable, [...trusting])).values());
};

/** Hosts that have to look again because of an event; none for events of others. */
export const hostsTouchedBy = async (recorded: RecordedEvent, rows: RowReader): Promise<string[]> => {
  const event = recorded as unknown as PortEvent | NetworkEvent | SubnetEvent | SecurityGroupEvent;
  const change = outlinesOf(recorded);
  if (change) {
    const { before, after } = change;
    const outlines = [before, after].filter((o) => o !== null);
    const hosts = new Set(outlines.flatMap((o) => (o.hostId === null ? [] : [o.hostId as string])));
    const sameInside =
      before && after && JSON.stringify({ ...before, hostId: null }) === JSON.stringify({ ...after, hostId: null });
    if (sameInside) return [...hosts];
    const networks = [...new Set(outlines.map((o) => o.networkId as string))];
    for (const host of hostsOf((await rows.getMany(networkPortsTable, networks)).values())) hosts.add(host);
    const groups = [...new Set(outlines.flatMap((o) => o.securityGroups as string[]))];
    for (const host of await hostsThatTrust(rows, groups)) hosts.add(host);
    return [...hosts];
  }
  switch (event.type) {
    case 'NetworkChanged':
      return hostsOf([await rows.get(networkPortsTable, event.data.networkId)]);
    case 'SubnetCreated':
      return hostsOf([await rows.get(networkPortsTable, event.data.networkId)]);
    case 'SubnetChanged': {
      const subnet = await rows.get(subnetTable, event.data.subnetId);
      return subnet ? hostsOf([await rows.get(networkPortsTable, subnet.networkId)]) : [];
    }
    case 'SecurityGroupRuleAdded':
    case 'SecurityGroupRuleRemoved':
    case 'SecurityGroupDeleted':
      return hostsOf([await rows.get(groupPortsTable, event.data.securityGroupId)]);
    default:
      return [];
  }
};
