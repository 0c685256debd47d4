import { conflict, type EventData, type ServerEvent, type ServerId, type serverEvents } from '@omnivisor/contracts';
import type { Server } from '../state/server.js';
import { guard, guardState } from '../state/server-rules.js';

export type AdoptionCommand =
  | { readonly type: 'adopt'; readonly request: EventData<typeof serverEvents, 'ServerAdoptionRequested'> }
  /** Gives the guest back as it is. */
  | { readonly type: 'releaseGuest'; readonly serverId: ServerId };

export const adopt = (
  { request }: Extract<AdoptionCommand, { type: 'adopt' }>,
  server: Pick<Server, 'id' | 'abandoned'>,
): ServerEvent[] => {
  if (server.abandoned) throw conflict('The request for this server was given up.');
  return server.id === null ? [{ type: 'ServerAdoptionRequested', data: request }] : [];
};

export const releaseGuest = (
  { serverId }: Extract<AdoptionCommand, { type: 'releaseGuest' }>,
  server: Server,
): ServerEvent[] => {
  if (server.releaseRequested) return [];
  guard(server, serverId, true);
  if (!server.adoption) throw conflict(`Instance ${serverId} was not adopted: it has nobody to be given back to.`);
  guardState(server, serverId, {
    action: 'release',
    from: ['active', 'paused', 'suspended', 'stopped', 'error'],
    task: [null],
  });
  return [{ type: 'ServerReleaseRequested', data: { serverId } }];
};
