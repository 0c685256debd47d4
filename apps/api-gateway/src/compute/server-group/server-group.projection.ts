import type { Instant, ServerGroupEvent, ServerGroupPolicy } from '@omnivisor/contracts';
import { projection, table } from '@omnivisor/eventsourcing';

export interface ServerGroupRow {
  readonly id: string;
  readonly projectId: string;
  readonly userId: string;
  readonly name: string;
  readonly policy: ServerGroupPolicy;
  readonly maxServerPerHost: number | null;
  readonly members: readonly string[];
  readonly createdAt: Instant;
}

export const serverGroupTable = table<ServerGroupRow>('server_groups_v1', ['projectId']);

const byGroup = (event: { readonly data: { readonly groupId: string } }) => event.data.groupId;

export const serverGroupProjection = projection<ServerGroupEvent, ServerGroupRow>(serverGroupTable, {
  ServerGroupCreated: {
    key: byGroup,
    row: (_, { data, recordedAt }) => ({
      id: data.groupId,
      projectId: data.projectId,
      userId: data.userId,
      name: data.name,
      policy: data.policy,
      maxServerPerHost: data.maxServerPerHost,
      members: [],
      createdAt: recordedAt,
    }),
  },
  ServerGroupMemberAdded: {
    key: byGroup,
    row: (row, { data }) => row && { ...row, members: [...row.members, data.serverId] },
  },
  ServerGroupMemberRemoved: {
    key: byGroup,
    row: (row, { data }) => row && { ...row, members: row.members.filter((m) => m !== data.serverId) },
  },
  ServerGroupDeleted: { key: byGroup, row: () => undefined },
});
