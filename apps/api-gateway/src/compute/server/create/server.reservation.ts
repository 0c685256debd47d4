import type { ProjectId, QuotaEvent, ServerEvent, ServerId } from '@omnivisor/contracts';
import type { Readings, ReservationKind } from '../../../reservation/reservation.js';
import { serverAmounts } from '../../quota/defaults.js';
import { type QuotaCommand, quotaAggregate } from '../../quota/quota.js';
import { leaveGroup } from '../../server-group/leave-group.js';
import { serverGroupTable } from '../../server-group/server-group.projection.js';
import { serverAggregate } from '../lifecycle/server-lifecycle.js';
import { sizeHeld } from '../move/server-resize.js';
import type { Server } from '../state/server.js';

const KIND = 'server';

/** Who holds a server's part of the quota. */
export const ownerOf = (serverId: string) => `${KIND}:${serverId}`;

/** Has a server hold the part that it takes now. */
export const quotaFor = (server: Server & { readonly id: ServerId }): Extract<QuotaCommand, { type: 'amend' }> => {
  const { id, projectId, generation } = server;
  return { type: 'amend', projectId, owner: ownerOf(id), amounts: serverAmounts(sizeHeld(server)), generation };
};

const byOwner = (owner: string) =>
  owner.startsWith(`${KIND}:`) ? [{ kind: KIND, id: owner.slice(KIND.length + 1) }] : [];

export const serverReadings: Readings = (recorded) => {
  const event = recorded as unknown as QuotaEvent | ServerEvent;
  switch (event.type) {
    case 'QuotaReserved': {
      const { projectId, owner } = event.data;
      return byOwner(owner).map((of) => ({ ...of, takes: 'quota', of: projectId, projectId }));
    }
    case 'QuotaReleased':
      return byOwner(event.data.owner).map((of) => ({ ...of, gives: 'quota' }));
    case 'ServerCreateRequested':
    case 'ServerAdoptionRequested':
      return [{ kind: KIND, id: event.data.serverId, owner: 'there' }];
    case 'ServerCreateAbandoned':
    case 'ServerResourcesReleased':
      return [{ kind: KIND, id: event.data.serverId, owner: 'gone' }];
    default:
      return [];
  }
};

export const serverReservation: ReservationKind = {
  bar: async ({ commands }, { id }, context) => {
    const serverId = id as ServerId;
    const { state } = await commands.execute(serverAggregate, id, { type: 'abandonCreate', serverId }, context);
    return state.abandoned;
  },
  giveBack: async (core, { id, projectId }, context) => {
    await core.commands.execute(
      quotaAggregate,
      projectId,
      { type: 'release', projectId: projectId as ProjectId, owner: ownerOf(id) },
      context,
    );
    // It joined the group that its request named before it came, or did not.
    const groups = await core.readModel.find(serverGroupTable, { where: { projectId, members: { contains: id } } });
    for (const group of groups) await leaveGroup(core, { id, projectId, hints: { group: group.id } }, context);
  },
};
