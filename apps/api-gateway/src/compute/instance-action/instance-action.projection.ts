import {
  after,
  type Instant,
  type Position,
  type RecordedEvent,
  type ServerEvent,
  seconds,
} from '@omnivisor/contracts';
import { type Projection, table } from '@omnivisor/eventsourcing';
import { isServerEvent } from '../server/view/server.projection.js';
import type { Ending } from './server-endings.projection.js';

/** One step of an action, on one service or host. */
export interface ServerActionStep {
  readonly event: string;
  readonly startTime: Instant;
  readonly finishTime: Instant | null;
  readonly result: 'Success' | 'Error' | null;
  readonly details: string | null;
  readonly host: string | null;
  readonly hostId: string | null;
}

/** What somebody asked of a server, and what came of it. Stays after the server is gone. */
export interface ServerActionRow {
  readonly serverId: string;
  readonly requestId: string;
  /** Of the event that began it. */
  readonly position: Position;
  readonly action: string;
  readonly userId: string | null;
  readonly projectId: string | null;
  readonly startTime: Instant;
  readonly updatedAt: Instant;
  /** `Error` when it failed. */
  readonly message: string | null;
  readonly steps: readonly ServerActionStep[];
}

/** Keys are `<server>/<request>`. */
export const serverActionTable = table<ServerActionRow>('server_actions_v2', ['serverId', 'startTime']);
export const serverActionKey = (serverId: string, requestId: string) => `${serverId}/${requestId}`;

type Begins = (event: ServerEvent) => string;
/** Events that begin an action, and its name. */
const begins: { readonly [T in ServerEvent['type']]?: Begins } = {
  ServerCreateRequested: () => 'create',
  ServerAdoptionRequested: () => 'create',
  ServerDeleteRequested: () => 'delete',
  ServerReleaseRequested: () => 'delete',
  ServerStartRequested: () => 'start',
  ServerStopRequested: () => 'stop',
  ServerRebootRequested: () => 'reboot',
  ServerPauseRequested: () => 'pause',
  ServerUnpauseRequested: () => 'unpause',
  ServerSuspendRequested: () => 'suspend',
  ServerResumeRequested: () => 'resume',
  ServerRebuildRequested: () => 'rebuild',
  ServerResizeRequested: () => 'resize',
  ServerMigrateRequested: () => 'migrate',
  ServerLiveMigrateRequested: () => 'live-migration',
  ServerMigrationForceRequested: () => 'live_migration_force_complete',
  ServerMigrationAbortRequested: () => 'live_migration_cancel',
  ServerMigrationConfirmed: () => 'confirmResize',
  ServerResizeConfirmRequested: () => 'confirmResize',
  ServerResizeRevertRequested: () => 'revertResize',
  ServerSnapshotRequested: () => 'createImage',
  ServerCrashDumpRequested: () => 'trigger_crash_dump',
  ServerPasswordChangeRequested: () => 'changePassword',
  ServerRescueRequested: () => 'rescue',
  ServerUnrescueRequested: () => 'unrescue',
  ServerInterfaceAttachRequested: () => 'attach_interface',
  ServerInterfaceDetachRequested: () => 'detach_interface',
  ServerLocked: () => 'lock',
  ServerUnlocked: () => 'unlock',
};

/** The step an action's first event opens; what locks is done at once. */
const firstStep: Readonly<Record<string, string>> = {
  create: 'conductor_schedule_and_build_instances',
  delete: 'compute_terminate_instance',
  start: 'compute_start_instance',
  stop: 'compute_stop_instance',
  reboot: 'compute_reboot_instance',
  pause: 'compute_pause_instance',
  unpause: 'compute_unpause_instance',
  suspend: 'compute_suspend_instance',
  resume: 'compute_resume_instance',
  rebuild: 'compute_rebuild_instance',
  resize: 'cold_migrate',
  migrate: 'cold_migrate',
  'live-migration': 'conductor_live_migrate_instance',
  confirmResize: 'compute_confirm_resize',
  revertResize: 'compute_revert_resize',
  createImage: 'compute_snapshot_instance',
  trigger_crash_dump: 'compute_trigger_crash_dump',
  changePassword: 'compute_set_admin_password',
  rescue: 'compute_rescue_instance',
  unrescue: 'compute_unrescue_instance',
  attach_interface: 'compute_attach_interface',
  detach_interface: 'compute_detach_interface',
};

const open = (row: ServerActionRow, at: Instant, step: string, host: string | null, hostId: string | null) => ({
  ...row,
  steps: [
    ...row.steps,
    { event: step, startTime: at, finishTime: null, result: null, details: null, host, hostId },
  ] satisfies ServerActionStep[],
});

const close = (row: ServerActionRow, at: Instant, failure: string | null, host: string | null): ServerActionRow => ({
  ...row,
  steps: row.steps.map((s) =>
    s.finishTime === null
      ? {
          ...s,
          finishTime: at,
          result: failure === null ? 'Success' : 'Error',
          details: failure,
          hostId: s.hostId ?? host,
        }
      : s,
  ),
});

/** What a host does of a move. */
const stepThere = ({ action }: ServerActionRow): string =>
  action === 'live-migration' ? 'compute_live_migration' : 'compute_finish_resize';

const failed = (row: ServerActionRow): ServerActionRow => ({ ...row, message: 'Error' });

/** What a gateway asks of a guest and settles itself, within this time unless it ended meanwhile. */
const settledByGateway: ReadonlySet<string> = new Set(['changePassword', 'trigger_crash_dump']);
const SETTLED_WITHIN = seconds(60);
/** What hosts go on with though the state of the server was set. */
const interfaceActions: ReadonlySet<string> = new Set(['attach_interface', 'detach_interface']);

/**
 * An action as it is shown: one that the server can no longer end has failed. What its host tells of it later counts all
 * the same.
 * @param changedAt when the newest event of the server was recorded
 */
export const settledAction = (
  row: ServerActionRow,
  endings: readonly Ending[],
  changedAt: Instant,
): ServerActionRow => {
  if (row.action === 'delete' || row.steps.every(({ finishTime }) => finishTime !== null)) return row;
  const fail = (at: Instant, details: string) => ({ ...failed(close(row, at, details, null)), updatedAt: at });
  const outlasts = ({ isReset }: Ending) => isReset === true && interfaceActions.has(row.action);
  const ending = endings.find((each) => each.position > row.position && !outlasts(each));
  if (ending) return fail(ending.at, ending.details);
  const late = after(row.startTime, SETTLED_WITHIN);
  return settledByGateway.has(row.action) && changedAt > late ? fail(late, 'Nobody has heard what came of it.') : row;
};

const follow = (row: ServerActionRow, event: RecordedEvent & ServerEvent): ServerActionRow => {
  const at = event.recordedAt;
  switch (event.type) {
    case 'ServerScheduled':
      return open(
        close(row, at, null, null),
        at,
        'compute__do_build_and_run_instance',
        event.data.hostName,
        event.data.host,
      );
    case 'ServerMigrationScheduled':
      return open(close(row, at, null, null), at, stepThere(row), event.data.hostName, event.data.host);
    case 'ServerCrashDumpTriggered':
    case 'ServerPasswordChanged':
      return close(row, at, null, null);
    case 'ServerCrashDumpFailed':
    case 'ServerPasswordChangeFailed':
    case 'ServerMigrationFailed':
      return failed(close(row, at, event.data.fault.message, null));
    case 'ServerGuestLost':
      return row.steps.some((s) => s.finishTime === null)
        ? failed(close(row, at, event.data.fault.message, null))
        : row;
    case 'ServerSpawned':
    case 'ServerStarted':
    case 'ServerStopped':
    case 'ServerRebooted':
    case 'ServerPaused':
    case 'ServerUnpaused':
    case 'ServerSuspended':
    case 'ServerResumed':
    case 'ServerRebuilt':
    case 'ServerResized':
    case 'ServerResizeConfirmed':
    case 'ServerResizeReverted':
    case 'ServerSnapshotTaken':
    case 'ServerRescued':
    case 'ServerUnrescued':
    case 'ServerInterfaceAttached':
    case 'ServerInterfaceDetached':
      return close(row, at, null, event.data.host);
    case 'ServerDeleted':
      return row.action === 'delete' ? close(row, at, null, null) : row;
    case 'ServerSpawnFailed':
      return close(row, at, 'The host could not build the server.', event.data.host);
    case 'ServerBuildFailed':
    case 'ServerInterfaceAttachFailed':
    case 'ServerInterfaceDetachFailed':
    case 'ServerActionFailed': {
      // A build that no host took has no open step any more: the last one stands for it.
      const closed = close(row, at, event.data.fault.message, null);
      return failed(closed);
    }
    default:
      return row;
  }
};

export const serverActionProjection: Projection<ServerActionRow> = {
  table: serverActionTable,
  keys: (event) => (isServerEvent(event) ? [serverActionKey(event.data.serverId, event.context.requestId)] : []),
  evolve: (row, recorded) => {
    const event = recorded as RecordedEvent & ServerEvent;
    const at = event.recordedAt;
    const { actor } = event.context;
    const name = begins[event.type]?.(event);
    if (!row) {
      if (name === undefined) return undefined;
      const user = actor.kind === 'user';
      const begun: ServerActionRow = {
        serverId: event.data.serverId,
        requestId: event.context.requestId,
        position: event.position,
        action: name,
        userId: user ? actor.userId : null,
        projectId: user ? actor.projectId : null,
        startTime: at,
        updatedAt: at,
        message: null,
        steps: [],
      };
      const step = firstStep[name];
      return step === undefined ? begun : open(begun, at, step, null, null);
    }
    const next = follow(row, event);
    return next === row ? row : { ...next, updatedAt: at };
  },
};
