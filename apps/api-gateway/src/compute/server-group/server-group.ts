import {
  DomainError,
  type EventData,
  notFound,
  type ProjectId,
  type ServerGroupEvent,
  type ServerId,
  serverGroupEvents,
} from '@omnivisor/contracts';
import type { Aggregate } from '@omnivisor/eventsourcing';

export type ServerGroupCommand =
  /** `limit`: how many groups the project may have; -1 is no limit. */
  | {
      readonly type: 'create';
      readonly group: EventData<typeof serverGroupEvents, 'ServerGroupCreated'>;
      readonly limit: number;
    }
  /** `limit`: how many members a group may have; -1 is no limit. */
  | {
      readonly type: 'join';
      readonly projectId: ProjectId;
      readonly groupId: string;
      readonly serverId: ServerId;
      readonly limit: number;
    }
  | { readonly type: 'leave'; readonly projectId: ProjectId; readonly groupId: string; readonly serverId: ServerId }
  | { readonly type: 'delete'; readonly projectId: ProjectId; readonly groupId: string };

/** Members by group. */
type Groups = ReadonlyMap<string, ReadonlySet<string>>;

export const serverGroupNotFound = (id: string) => notFound(`Instance group ${id} could not be found.`);

/** The rules of `servergroup-<project>` streams. */
export const serverGroupAggregate: Aggregate<Groups, ServerGroupCommand, ServerGroupEvent> = {
  events: serverGroupEvents,
  initial: new Map(),
  decide(command, groups) {
    if (command.type === 'create') {
      if (groups.has(command.group.groupId)) return [];
      if (command.limit >= 0 && groups.size >= command.limit)
        throw new DomainError('overQuota', 'Quota exceeded, too many server groups.');
      return [{ type: 'ServerGroupCreated', data: command.group }];
    }
    const { projectId, groupId } = command;
    const members = groups.get(groupId);
    switch (command.type) {
      case 'join':
        if (!members) throw serverGroupNotFound(groupId);
        if (members.has(command.serverId)) return [];
        if (command.limit >= 0 && members.size >= command.limit)
          throw new DomainError('overQuota', 'Quota exceeded, too many servers in group');
        return [{ type: 'ServerGroupMemberAdded', data: { projectId, groupId, serverId: command.serverId } }];
      case 'leave':
        if (!members?.has(command.serverId)) return [];
        return [{ type: 'ServerGroupMemberRemoved', data: { projectId, groupId, serverId: command.serverId } }];
      case 'delete':
        if (!members) throw serverGroupNotFound(groupId);
        return [{ type: 'ServerGroupDeleted', data: { projectId, groupId } }];
    }
  },
  evolve(groups, event) {
    const next = new Map(groups);
    const { groupId } = event.data;
    const members = new Set(groups.get(groupId));
    switch (event.type) {
      case 'ServerGroupCreated':
        return next.set(groupId, new Set());
      case 'ServerGroupMemberAdded':
        return next.set(groupId, members.add(event.data.serverId));
      case 'ServerGroupMemberRemoved':
        members.delete(event.data.serverId);
        return groups.has(groupId) ? next.set(groupId, members) : groups;
      case 'ServerGroupDeleted':
        next.delete(groupId);
        return next;
    }
  },
};
