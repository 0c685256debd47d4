import { after, type Instant, type ServerEvent, seconds } from '@omnivisor/contracts';
import type { Server } from '../state/server.js';
import { canReturn, isSent, isUnplaced } from '../state/server-moving.js';
import { INTERFACE_DEADLINE, stretched, taskDeadlines } from './server-deadlines.js';

export const SERVER_PROCESS = 'server';

export type ServerStep =
  | 'schedule'
  | 'expireTask'
  | 'expireInterface'
  | 'releaseInterfaces'
  | 'dropImages'
  | 'place'
  | 'land'
  | 'returnHome'
  | 'dropTransfers'
  | 'settleQuota'
  | 'release';

/** How long the replica that made a step due has for it before any other takes it up. */
const HEAD_START = seconds(2);

/** What waits for the scheduler, until the deadline of its task. */
const placing = (server: Pick<Server, 'taskState' | 'migration'>): ServerStep | undefined => {
  if (server.taskState === 'scheduling') return 'schedule';
  return server.taskState === 'resize_prep' || isUnplaced(server) ? 'place' : undefined;
};

/** What a server that moves waits for, however long that takes. */
const moving = (server: Pick<Server, 'held' | 'migration' | 'remains' | 'deleteRequested'>) =>
  isSent(server) ? 'land' : canReturn(server) ? 'returnHome' : null;

interface Due {
  readonly step: ServerStep;
  readonly at: Instant;
}

/**
 * What the process manager does next for a server, and when others do it; null when the server is at rest.
 * @param patience times as long as usual that hosts may take; a row falls due as if they had no more than usual
 */
export const nextStep = (
  server: Pick<
    Server,
    | 'vmState'
    | 'taskState'
    | 'released'
    | 'interfaces'
    | 'releasing'
    | 'imagesToDrop'
    | 'quotaDue'
    | 'held'
    | 'migration'
    | 'remains'
    | 'transfersToDrop'
    | 'deleteRequested'
  > & {
    readonly updatedAt: Instant;
    readonly taskSince: Instant | null;
  },
  patience = 1,
): Due | null => {
  const at = after(server.updatedAt, HEAD_START);
  if (server.imagesToDrop?.length) return { step: 'dropImages', at };
  if (server.transfersToDrop?.length) return { step: 'dropTransfers', at };
  if (server.vmState === 'deleted') return server.released ? null : { step: 'release', at };
  const due: Due[] = [];
  if (server.quotaDue) due.push({ step: 'settleQuota', at });
  const move = moving(server);
  if (move) due.push({ step: move, at });
  if (server.releasing?.length) due.push({ step: 'releaseInterfaces', at });
  const waiting = (server.interfaces ?? []).flatMap(({ since }) => since ?? []).sort();
  if (waiting[0]) due.push({ step: 'expireInterface', at: after(waiting[0], stretched(INTERFACE_DEADLINE, patience)) });
  if (server.taskState !== null && server.taskSince !== null) {
    const deadline = after(server.taskSince, stretched(taskDeadlines[server.taskState], patience));
    const place = at < deadline ? placing(server) : undefined;
    due.push(place ? { step: place, at } : { step: 'expireTask', at: deadline });
  }
  return due.reduce<Due | null>((first, next) => (first && first.at <= next.at ? first : next), null);
};

type Begun = Exclude<ServerStep, 'expireTask' | 'expireInterface'> | null;

const scheduling = (server: Server): Begun => (server.taskState === 'scheduling' ? 'schedule' : null);
const settling = (server: Server): Begun => (server.quotaDue ? 'settleQuota' : null);

const begun: { readonly [T in ServerEvent['type']]?: (server: Server) => Begun } = {
  ServerCreateRequested: scheduling,
  ServerAdoptionRequested: scheduling,
  ServerSpawnFailed: scheduling,
  ServerInterfaceDetached: () => 'releaseInterfaces',
  ServerResizeRequested: () => 'place',
  ServerMigrateRequested: () => 'place',
  ServerLiveMigrateRequested: () => 'place',
  ServerAttemptAbandoned: (server) => (isUnplaced(server) ? 'place' : null),
  ServerMigrationSent: moving,
  ServerMigrationFailed: moving,
  ServerGuestAbsent: moving,
  ServerMigrated: ({ transfersToDrop }) => (transfersToDrop?.length ? 'dropTransfers' : null),
  ServerMigrationConfirmed: settling,
  ServerResizeConfirmed: settling,
  ServerResizeReverted: settling,
  ServerActionFailed: ({ imagesToDrop, transfersToDrop, quotaDue }) =>
    imagesToDrop?.length ? 'dropImages' : transfersToDrop?.length ? 'dropTransfers' : quotaDue ? 'settleQuota' : null,
  ServerTransferDropped: ({ transfersToDrop, quotaDue }) =>
    !transfersToDrop?.length && quotaDue ? 'settleQuota' : null,
  // What was deleted under its build waits for its turn: the build is over by then.
  ServerDeleted: ({ released, ports, fault }) => (released || (ports === null && fault === null) ? null : 'release'),
};

export const beginsWork = (event: ServerEvent): boolean => event.type in begun;

/** The step that the replica which appended an event goes on with; null when that is nothing now. */
export const begunBy = (event: ServerEvent, server: Server): Begun => begun[event.type]?.(server) ?? null;
