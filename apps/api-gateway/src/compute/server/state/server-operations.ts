import type { ServerEvent, ServerOperation } from '@omnivisor/contracts';
import type { Server, TaskState } from './server.js';

/** What instance actions and refusals call an operation, and the event that says it is done. */
export const operations = {
  start: { action: 'start', done: 'ServerStarted' },
  stop: { action: 'stop', done: 'ServerStopped' },
  softReboot: { action: 'reboot', done: 'ServerRebooted' },
  hardReboot: { action: 'reboot', done: 'ServerRebooted' },
  pause: { action: 'pause', done: 'ServerPaused' },
  unpause: { action: 'unpause', done: 'ServerUnpaused' },
  suspend: { action: 'suspend', done: 'ServerSuspended' },
  resume: { action: 'resume', done: 'ServerResumed' },
  rebuild: { action: 'rebuild', done: 'ServerRebuilt' },
  rescue: { action: 'rescue', done: 'ServerRescued' },
  snapshot: { action: 'createImage', done: 'ServerSnapshotTaken' },
  resize: { action: 'resize', done: 'ServerResized' },
  confirmResize: { action: 'confirmResize', done: 'ServerResizeConfirmed' },
  revertResize: { action: 'revertResize', done: 'ServerResizeReverted' },
  migrate: { action: 'migrate', done: 'ServerMigrationSent' },
  liveMigrate: { action: 'live-migration', done: 'ServerMigrationSent' },
  unrescue: { action: 'unrescue', done: 'ServerUnrescued' },
} as const satisfies Record<ServerOperation, { readonly action: string; readonly done: ServerEvent['type'] }>;

/** What a host is asked for until it has answered, however long that takes: nobody else knows what the guest is. */
const lasting: { readonly [O in ServerOperation]?: TaskState } = {
  resize: 'resize_migrating',
  confirmResize: 'resize_confirming',
  revertResize: 'resize_reverting',
  migrate: 'resize_migrating',
  liveMigrate: 'migrating',
  rebuild: 'rebuilding',
  rescue: 'rescuing',
  unrescue: 'unrescuing',
};

/** The task that is still under way though its deadline may have passed. */
export const lastingTask = ({ operation }: Pick<Server, 'operation'>): TaskState | undefined =>
  operation && !operation.done ? lasting[operation.kind] : undefined;
export const isLasting = (server: Pick<Server, 'operation'>): boolean => lastingTask(server) !== undefined;
/** Of a log from before events said what they keep: then these ended with their deadline. */
export const wasLasting = (server: Pick<Server, 'operation'>): boolean =>
  isLasting(server) && !['rebuild', 'rescue', 'unrescue'].includes(server.operation!.kind);

/** What instance actions and refusals call what runs. */
export const actionOf = ({ operation, migration }: Pick<Server, 'operation' | 'migration'>): string | undefined =>
  operation?.kind === 'migrate' && migration?.kind === 'resize'
    ? operations.resize.action
    : operation
      ? operations[operation.kind].action
      : undefined;

/** The image of a snapshot that is given up is to be dropped. */
export const withoutSnapshot = ({ operation, imagesToDrop }: Server): Pick<Server, 'imagesToDrop'> => {
  const given = operation && !operation.done ? operation.snapshot : undefined;
  return given ? { imagesToDrop: [...(imagesToDrop ?? []), given.imageId] } : {};
};

/** What was under way is over, and was not done. */
export const withoutOperation = (server: Server): Pick<Server, 'operation' | 'imagesToDrop'> => ({
  operation: server.operation && { ...server.operation, done: true },
  ...withoutSnapshot(server),
});
