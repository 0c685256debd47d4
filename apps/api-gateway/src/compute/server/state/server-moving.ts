import type { HostId, PowerState, ServerEvent, ServerFault, ServerId } from '@omnivisor/contracts';
import type { Migration, MigrationStatus, Placement, Remains, Server } from './server.js';

/** Its guest is, or will be, on another host than before. */
export const isMove = ({ source, target }: Migration): boolean => target !== null && target.host !== source.host;

/** A move that has a target and has not come to its end. */
export const moveOf = ({ migration }: Server): (Migration & { readonly target: Placement }) | undefined =>
  migration?.target && isMove(migration) && OPEN.has(migration.status)
    ? (migration as Migration & { readonly target: Placement })
    : undefined;
const OPEN: ReadonlySet<MigrationStatus> = new Set(['migrating', 'running', 'post-migrating', 'finished', 'reverting']);

/** Nothing more comes of it. */
export const isOver = ({ status }: Migration): boolean => OVER.has(status);
const OVER: ReadonlySet<MigrationStatus> = new Set(['completed', 'confirmed', 'reverted', 'cancelled', 'error']);

/** Waits for a place. */
export const isUnplaced = ({ migration, taskState }: Pick<Server, 'migration' | 'taskState'>): boolean =>
  migration?.status === 'accepted' && (taskState === 'resize_prep' || taskState === 'migrating');

/** All was sent, and nothing is on the target but what came by itself. */
export const isSent = (server: Pick<Server, 'migration' | 'held' | 'deleteRequested'>): boolean =>
  server.migration?.status === 'post-migrating' && server.held === true && !server.deleteRequested;

/** Its guest has come to the target by itself, and is not made there, whatever becomes of it. */
export const isAccepting = ({ migration, held, spawned }: Pick<Server, 'migration' | 'held' | 'spawned'>): boolean =>
  migration?.kind === 'live-migration' && migration.status === 'post-migrating' && !held && !spawned;

/** It was given up for missing when it had come to the target by itself; it is taken when it is there after all. */
export const isGivenUp = ({ migration, placement, power, deleteRequested }: Server): boolean =>
  migration?.kind === 'live-migration' &&
  migration.status === 'error' &&
  power === 'noState' &&
  !deleteRequested &&
  placement !== null &&
  placement.attempt === migration.target?.attempt;

/** A new move would forget whom its guest is awaited by, and what is kept in case it does not come. */
export const isMoveUnsettled = (server: Server): boolean =>
  isGivenUp(server) || server.remains?.some(({ part }) => part === 'kept') === true;

/** On its way back, with nothing left of it where it was. */
export const canReturn = ({
  held,
  migration,
  remains,
  deleteRequested,
}: Pick<Server, 'held' | 'migration' | 'remains' | 'deleteRequested'>): boolean =>
  held === true &&
  !deleteRequested &&
  (migration?.status === 'reverting' || migration?.status === 'error') &&
  !remains?.some(({ placement }) => placement.host === migration.target?.host);

export const withStatus = (
  { migration }: Server,
  status: MigrationStatus,
  more: Partial<Migration> = {},
): Pick<Server, 'migration'> => (migration ? { migration: { ...migration, status, ...more } } : {});

/** Nobody needs the copies of its disks any more: they are dropped, once. */
export const droppingTransfers = (server: Server): Server => {
  const { migration, transfersToDrop = [] } = server;
  if (!migration?.transfers) return server;
  const { root, ephemeral } = migration.transfers;
  return {
    ...server,
    migration: { ...migration, transfers: null },
    transfersToDrop: [...transfersToDrop, ...[root, ephemeral].flatMap((id) => id ?? [])],
  };
};

/** Everything that lies on other hosts is to be destroyed. */
export const withTombstones = ({ remains }: Server): Pick<Server, 'remains'> =>
  remains ? { remains: remains.map((r) => ({ ...r, part: 'tombstone' as const })) } : {};

/** What a host has of the server under that attempt, beside the guest that the server has. */
export const remainsOn = (server: Server, host: HostId, attempt: number): Remains | undefined =>
  server.remains?.find((r) => r.placement.host === host && r.placement.attempt === attempt);

export const withoutRemains = (server: Server, gone: Remains): Server => {
  const after = { ...server, remains: (server.remains ?? []).filter((r) => r !== gone) };
  // Its deadline may have passed meanwhile: it goes on all the same.
  return canReturn(after) ? { ...after, taskState: 'resize_reverting' } : after;
};

/** Claims for the guest as it is placed, the oldest first. */
export const claimsOf = ({ claims, placement }: Server): readonly number[] =>
  claims ?? (placement ? [placement.attempt] : []);

export const withoutClaim = (server: Server, attempt: number): Pick<Server, 'claims'> =>
  server.claims ? { claims: server.claims.filter((claim) => claim !== attempt) } : {};

/** No place for the other flavor: nothing has happened to the guest, and a claim that may come late is given up. */
export const refuseResize = (
  server: Server,
  serverId: ServerId,
  attempt: number,
  fault: ServerFault,
  power: PowerState | null = server.power,
): ServerEvent[] => {
  const action = server.migration?.kind === 'migration' ? 'migrate' : 'resize';
  return [
    { type: 'ServerAttemptAbandoned', data: { serverId, attempt, reason: fault.message } },
    { type: 'ServerActionFailed', data: { serverId, action, fault, power } },
  ];
};
