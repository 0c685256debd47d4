import type { hostBus, Position, SecurityGroupId } from '@omnivisor/contracts';
import type { RowReader } from '@omnivisor/eventsourcing';
import { settled } from '../../core/settled.js';
import { type GroupMemberRow, groupMemberTable, portHostTable } from '../port/port-outlines.projection.js';
import { securityGroupTable } from './security-group.projection.js';

/**
 * Members of the groups that rules on a host name: all of a group that the host has not heard of yet, else those that
 * changed.
 * @param since what the host knows; 0 for nothing
 */
export const membersForHost = async (
  rows: RowReader,
  hostId: string,
  since: Position,
): Promise<hostBus.GroupMembers[]> => {
  const here = new Map((await rows.find(portHostTable, { where: { hostId } })).map((row) => [row.of, row.since]));
  const named = new Set<string>();
  const news = new Set<string>();
  for (const group of (await rows.getMany(securityGroupTable, [...here.keys()])).values())
    for (const id of group.remoteGroups) {
      named.add(id);
      if (here.get(group.id)! > since) news.add(id);
    }
  const old = [...named].filter((id) => !news.has(id));
  const [all, changed] = await settled([
    news.size === 0 ? [] : rows.find(groupMemberTable, { where: { groupId: { in: [...news] }, member: true } }),
    old.length === 0 ? [] : rows.find(groupMemberTable, { where: { groupId: { in: old }, changedAt: { gt: since } } }),
  ]);
  const groups = new Map<string, GroupMemberRow[]>([...news].map((id) => [id, []]));
  for (const row of [...all, ...changed]) groups.set(row.groupId, [...(groups.get(row.groupId) ?? []), row]);
  return [...groups].map(([id, members]) => ({
    securityGroupId: id as SecurityGroupId,
    whole: news.has(id),
    members: members.map(({ portId, addresses }) => ({ portId: portId as never, addresses: [...addresses] })),
  }));
};
