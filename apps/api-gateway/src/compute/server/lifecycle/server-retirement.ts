import type {
  EventData,
  HostId,
  Instant,
  ServerEvent,
  ServerFault,
  ServerId,
  serverEvents,
} from '@omnivisor/contracts';
import { failed } from '../move/server-migration.js';
import type { Server } from '../state/server.js';
import {
  droppingTransfers,
  isOver,
  isSent,
  isUnplaced,
  moveOf,
  remainsOn,
  withStatus,
  withTombstones,
} from '../state/server-moving.js';
import { withoutOperation } from '../state/server-operations.js';

/** The host has left the cloud for good: what it has of the server ends. */
export interface RetirementCommand {
  readonly type: 'endOnRetired';
  readonly serverId: ServerId;
  readonly host: HostId;
  readonly now: Instant;
}

const LOST: ServerFault = { code: 500, message: 'The host of the server has left the cloud.' };

export const endOnRetired = (server: Server, { serverId, host, now }: RetirementCommand): ServerEvent[] => [
  ...remainsEnd(server, serverId, host),
  ...(server.placement?.host === host ? placementEnds(server, serverId, now) : []),
];

/** What cannot be gone back to is confirmed, as Nova confirms by itself after a while; nobody waits for what was to come. */
const remainsEnd = (server: Server, serverId: ServerId, host: HostId): ServerEvent[] =>
  (server.remains ?? []).flatMap(({ placement, part, claims }): ServerEvent[] => {
    if (placement.host !== host) return [];
    const { attempt } = placement;
    const isFinal = part === 'kept' && server.vmState === 'resized' && server.taskState === null;
    const isExpected = part === 'incoming' && server.migration?.status === 'running' && !server.migration.aborting;
    return [
      ...(isFinal ? [confirmed(server, serverId)] : []),
      ...(isExpected ? [{ type: 'ServerMigrationAbortRequested', data: { serverId } } as const] : []),
      { type: 'ServerGuestAbsent', data: { serverId, host, attempt, claims: [...claims], retired: true } },
    ];
  });

export const confirmed = ({ generation }: Server, serverId: ServerId): ServerEvent => ({
  type: 'ServerMigrationConfirmed',
  data: { serverId, generation: generation + 1 },
});

const placementEnds = (server: Server, serverId: ServerId, now: Instant): ServerEvent[] => {
  const { host, attempt } = server.placement!;
  const onHost = { serverId, host, attempt };
  if (server.deleteRequested) {
    const claims = server.claims ? { claims: [...server.claims] } : {};
    const gone: ServerEvent = { type: 'ServerGuestAbsent', data: { ...onHost, ...claims, retired: true } };
    if (server.vmState === 'deleted') return [gone];
    return [gone, { type: 'ServerDeleted', data: { serverId, at: now, hostConfirmed: false } }];
  }
  // All of it was sent: it goes on without its source.
  if (isSent(server)) return [];
  const move = moveOf(server);
  // A build has its deadline; what was to be made of what was sent can still be gone back from.
  if (!server.spawned)
    return move && move.kind !== 'live-migration' && !server.held ? failed(server, serverId, LOST) : [];
  if (server.power === 'noState' && !server.held) return [];
  const barred = isUnplaced(server) ? server.attempt + 1 : move && unheard(server, move.target) ? server.attempt : null;
  return [
    ...(barred === null
      ? []
      : [{ type: 'ServerAttemptAbandoned', data: { serverId, attempt: barred, reason: LOST.message } } as const]),
    { type: 'ServerGuestLost', data: { ...onHost, fault: LOST } },
  ];
};

/** The target of a move has nothing of it yet but a claim. */
const unheard = (server: Server, { host, attempt }: { readonly host: HostId; readonly attempt: number }): boolean =>
  server.placement?.host !== host && !remainsOn(server, host, attempt);

export const guestLost = (server: Server, { fault }: EventData<typeof serverEvents, 'ServerGuestLost'>): Server => {
  const { migration, placement } = server;
  const isOpen = migration !== undefined && !isOver(migration);
  // What it was before it moved is kept on its source.
  const canGoBack = isOpen && migration.status === 'finished' && migration.target?.attempt === placement?.attempt;
  const left = canGoBack
    ? server
    : droppingTransfers({
        ...server,
        ...(isOpen ? withStatus(server, 'error') : {}),
        ...withTombstones(server),
        ...(server.resize ? { resize: undefined, quotaDue: true } : {}),
      });
  return {
    ...left,
    ...withoutOperation(server),
    held: false,
    vmState: 'error',
    taskState: null,
    power: 'noState',
    fault,
  };
};
