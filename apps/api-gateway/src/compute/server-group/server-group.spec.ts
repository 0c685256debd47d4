import type { ProjectId, ServerGroupEvent, ServerId, UserId } from '@omnivisor/contracts';
import { specificationOf } from '@omnivisor/eventsourcing/testing';
import { describe, it } from 'vitest';
import { serverGroupAggregate } from './server-group.js';

const given = specificationOf(serverGroupAggregate);
const projectId = 'p' as ProjectId;
const groupId = '5f3c7f0e-6f0c-4b32-9f0b-0d7a0c4f7a09';
const serverId = '5f3c7f0e-6f0c-4b32-9f0b-0d7a0c4f7a01' as ServerId;
const other = '5f3c7f0e-6f0c-4b32-9f0b-0d7a0c4f7a02' as ServerId;
const group = {
  projectId,
  groupId,
  userId: 'u' as UserId,
  name: 'g',
  policy: 'affinity' as const,
  maxServerPerHost: null,
};
const created: ServerGroupEvent = { type: 'ServerGroupCreated', data: group };
const joined: ServerGroupEvent = { type: 'ServerGroupMemberAdded', data: { projectId, groupId, serverId } };

describe('a server group', () => {
  it('is made while the project may have more', () => given().when({ type: 'create', group, limit: 1 }).then(created));
  it('is refused beyond the limit', () =>
    given(created)
      .when({ type: 'create', group: { ...group, groupId: 'x' }, limit: 1 })
      .thenRefused('overQuota', /too many server groups/));
  it('takes a member once', () =>
    given(created, joined).when({ type: 'join', projectId, groupId, serverId, limit: 5 }).thenNothing());
  it('takes no more members than it may have', () =>
    given(created, joined)
      .when({ type: 'join', projectId, groupId, serverId: other, limit: 1 })
      .thenRefused('overQuota', /too many servers in group/));
  it('has room again when a member left', () =>
    given(created, joined, { type: 'ServerGroupMemberRemoved', data: { projectId, groupId, serverId } })
      .when({ type: 'join', projectId, groupId, serverId: other, limit: 1 })
      .then({ type: 'ServerGroupMemberAdded', data: { projectId, groupId, serverId: other } }));
  it('that is gone is left without a trace', () =>
    given(created, joined, { type: 'ServerGroupDeleted', data: { projectId, groupId } })
      .when({ type: 'leave', projectId, groupId, serverId })
      .thenNothing());
  it('that is unknown cannot be deleted', () =>
    given()
      .when({ type: 'delete', projectId, groupId })
      .thenRefused('notFound', /could not be found/));
});
