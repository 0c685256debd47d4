import { z } from 'zod';
import { type EventOf, event, eventSet } from '../event-set.js';
import { ProjectId, ServerId, UserId } from '../ids.js';

export const ServerGroupPolicy = z.enum(['affinity', 'anti-affinity', 'soft-affinity', 'soft-anti-affinity']);
export type ServerGroupPolicy = z.infer<typeof ServerGroupPolicy>;

const group = { projectId: ProjectId, groupId: z.uuid() };

/** One stream per project: groups and their members are counted against the project's limits. */
export const serverGroupEvents = eventSet({
  stream: 'servergroup',
  writer: 'api-gateway',
  events: {
    ServerGroupCreated: event(
      'A user made a group of servers that are placed together or apart.',
      z.object({
        ...group,
        userId: UserId,
        name: z.string(),
        policy: ServerGroupPolicy,
        /** anti-affinity: how many members may share a host; null means one. */
        maxServerPerHost: z.number().int().positive().nullable(),
      }),
    ),
    ServerGroupMemberAdded: event('A new server is placed with the group.', z.object({ ...group, serverId: ServerId })),
    ServerGroupMemberRemoved: event(
      'A server of the group is gone, or was never made.',
      z.object({ ...group, serverId: ServerId }),
    ),
    ServerGroupDeleted: event('The group is gone; its servers stay.', z.object(group)),
  },
});
export type ServerGroupEvent = EventOf<typeof serverGroupEvents>;
