import type { hostBus, PortId, Position, SecurityGroupId } from '@omnivisor/contracts';
import type { RowReader } from '@omnivisor/eventsourcing';
import { settled } from '../core/settled.js';
import { networkTable } from './network/network.projection.js';
import { type GroupMemberRow, groupMemberTable, portHostTable } from './port/port-outlines.projection.js';
import { type SecurityGroupRow, securityGroupTable } from './security-group/security-group.projection.js';
import { subnetTable } from './subnet/subnet.projection.js';

/** What changed of the network around the ports of a host. */
export interface HostNetworkNews {
  /** Networks, subnets or rules changed under ports that did not. */
  readonly everything: boolean;
  /** Members of the groups that rules on the host name: all of a group that is new to it, else those that changed. */
  readonly members: hostBus.GroupMembers[];
}

/** @param since what the host knows; 0 for nothing */
export const newsForHost = async (rows: RowReader, hostId: string, since: Position): Promise<HostNetworkNews> => {
  const here = new Map((await rows.find(portHostTable, { where: { hostId } })).map((row) => [row.of, row.since]));
  // What came to the host since is told of with its servers.
  const known = [...here].flatMap(([of, came]) => (came <= since ? [of] : []));
  const [groups, networks, subnets] = await settled([
    rows.getMany(securityGroupTable, [...here.keys()]),
    rows.getMany(networkTable, known),
    known.length === 0 ? 0 : rows.count(subnetTable, { networkId: { in: known }, changedAt: { gt: since } }),
  ]);
  const changed = (id: string) => ((groups.get(id) ?? networks.get(id))?.changedAt ?? since + 1) > since;
  return {
    everything: since > 0 && (subnets > 0 || known.some(changed)),
    members: await membersOf(rows, [...groups.values()], (group) => here.get(group)! > since, since),
  };
};

const membersOf = async (
  rows: RowReader,
  groups: readonly SecurityGroupRow[],
  isNew: (group: string) => boolean,
  since: Position,
): Promise<hostBus.GroupMembers[]> => {
  const named = new Set(groups.flatMap((group) => group.remoteGroups));
  const news = new Set(groups.flatMap((group) => (isNew(group.id) ? group.remoteGroups : [])));
  const old = [...named].filter((id) => !news.has(id));
  const [all, changed] = await settled([
    news.size === 0 ? [] : rows.find(groupMemberTable, { where: { groupId: { in: [...news] }, member: true } }),
    old.length === 0 ? [] : rows.find(groupMemberTable, { where: { groupId: { in: old }, changedAt: { gt: since } } }),
  ]);
  const byGroup = new Map<string, GroupMemberRow[]>([...news].map((id) => [id, []]));
  for (const row of [...all, ...changed]) {
    const list = byGroup.get(row.groupId) ?? [];
    list.push(row);
    byGroup.set(row.groupId, list);
  }
  return [...byGroup].map(([id, members]) => ({
    securityGroupId: id as SecurityGroupId,
    whole: news.has(id),
    members: members.map(({ portId, addresses }) => ({ portId: portId as PortId, addresses: [...addresses] })),
  }));
};
