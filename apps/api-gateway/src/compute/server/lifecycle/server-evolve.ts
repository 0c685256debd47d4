import type {
  EventData,
  PowerOperation,
  PowerState,
  ServerEvent,
  ServerFault,
  serverEvents,
} from '@omnivisor/contracts';
import { evolveRebuild, rebuildFailed } from '../actions/server-rebuild.js';
import { evolveRescue } from '../actions/server-rescue.js';
import { evolveSnapshot } from '../actions/server-snapshot.js';
import { evolveInterfaces } from '../interfaces/server-interfaces.js';
import { evolveMigration, migrationFailed } from '../move/server-migration.js';
import { evolveResize, resizeFailed } from '../move/server-resize.js';
import {
  isUndecided,
  noServer,
  operated,
  type Server,
  type TaskState,
  type VmState,
  vmStateLeft,
  vmStateOf,
  vmStateWith,
} from '../state/server.js';
import {
  droppingTransfers,
  isAccepting,
  isOver,
  remainsOn,
  withoutClaim,
  withoutRemains,
  withStatus,
  withTombstones,
} from '../state/server-moving.js';
import { isLasting, wasLasting, withoutOperation, withoutSnapshot } from '../state/server-operations.js';
import { guestLost } from './server-retirement.js';

const actionFailed = (
  server: Server,
  { fault, ...event }: EventData<typeof serverEvents, 'ServerActionFailed'>,
): Server => {
  const power = event.power ?? server.power;
  if (event.unheard) return unheardOf(server, fault);
  const isKnownAgain = server.vmState === 'error' && isLasting(server) && event.power !== null;
  const failed: Server = {
    ...server,
    taskState: server.taskState === 'deleting' ? 'deleting' : null,
    ...withoutOperation(server),
    power,
    wantedPower: power,
    vmState:
      (lasting.has(server.vmState) && !isKnownAgain) || !server.launched ? server.vmState : vmStateWith(server, power),
    fault,
  };
  if (server.resize && server.vmState !== 'resized' && !isUndecided(server))
    return resizeFailed(migrationFailed(failed), event.power);
  if (server.migration?.kind === 'live-migration') return migrationFailed(failed);
  if (server.operation === null || server.operation.done) return failed;
  switch (server.operation.kind) {
    case 'rebuild':
      return rebuildFailed(failed, event.power, server.power);
    case 'rescue':
      return { ...failed, vmState: vmStateLeft(failed, event.power, server.power) };
    case 'unrescue':
      return { ...failed, vmState: 'rescued' };
    default:
      return failed;
  }
};

/** Whatever its host makes of it is still to come: the guest may be anything until then. */
const unheardOf = (server: Server, fault: ServerFault): Server => ({
  ...server,
  fault,
  taskState: server.taskState === 'deleting' ? 'deleting' : null,
  vmState:
    server.migration?.kind === 'live-migration' ||
    server.vmState === 'rescued' ||
    (server.vmState === 'resized' && !server.held)
      ? server.vmState
      : 'error',
});

/** What a server stays whatever becomes of its power. */
const lasting: ReadonlySet<VmState> = new Set(['error', 'rescued', 'resized']);

/** What a host makes of the power; anything else leaves a guest that runs. */
const powerAfter: { readonly [O in PowerOperation]?: PowerState } = {
  stop: 'shutdown',
  pause: 'paused',
  suspend: 'suspended',
};

const operate = (server: Server, kind: PowerOperation, generation: number, taskState: TaskState): Server => ({
  ...server,
  taskState,
  generation,
  wantedPower: powerAfter[kind] ?? 'running',
  operation: { generation, kind, done: false },
});

export const evolve = (server: Server, event: ServerEvent): Server => {
  switch (event.type) {
    case 'ServerCreateRequested':
    case 'ServerAdoptionRequested': {
      const { serverId, availabilityZone, ...request } = event.data;
      return {
        ...noServer,
        ...request,
        id: serverId,
        requestedZone: availabilityZone,
        vmState: 'building',
        taskState: 'scheduling',
      };
    }
    case 'ServerCreateAbandoned':
      return { ...server, abandoned: true };
    case 'ServerPortsAllocated':
      return { ...server, ports: event.data.ports };
    case 'ServerScheduled': {
      const { host, hostName, node, providerId, attempt, availabilityZone } = event.data;
      return {
        ...server,
        attempt,
        placement: { host, hostName, node, providerId, attempt, availabilityZone },
        claims: undefined,
        spawned: false,
        taskState: 'spawning',
      };
    }
    case 'ServerAttemptAbandoned':
      return {
        ...server,
        ...withoutClaim(server, event.data.attempt),
        attempt: Math.max(server.attempt, event.data.attempt),
      };
    case 'ServerSpawned': {
      const { power, bootId } = event.data;
      return {
        ...server,
        spawned: true,
        launched: true,
        power,
        wantedPower: power,
        bootId,
        fault: null,
        vmState: server.vmState === 'deleted' ? 'deleted' : vmStateOf(power),
        taskState: server.taskState === 'deleting' ? 'deleting' : null,
      };
    }
    case 'ServerSpawnFailed':
      return {
        ...server,
        failedHosts: [...server.failedHosts, event.data.host],
        taskState: server.taskState === 'deleting' ? 'deleting' : server.vmState === 'building' ? 'scheduling' : null,
      };
    case 'ServerBuildFailed':
      return { ...server, vmState: 'error', taskState: null, fault: event.data.fault };
    case 'ServerStartRequested':
      return operate(server, 'start', event.data.generation, 'powering-on');
    case 'ServerStopRequested':
      return operate(server, 'stop', event.data.generation, 'powering-off');
    case 'ServerRebootRequested':
      return event.data.kind === 'soft'
        ? operate(server, 'softReboot', event.data.generation, 'rebooting')
        : operate(server, 'hardReboot', event.data.generation, 'rebooting_hard');
    case 'ServerPauseRequested':
      return operate(server, 'pause', event.data.generation, 'pausing');
    case 'ServerUnpauseRequested':
      return operate(server, 'unpause', event.data.generation, 'unpausing');
    case 'ServerSuspendRequested':
      return operate(server, 'suspend', event.data.generation, 'suspending');
    case 'ServerResumeRequested':
      return operate(server, 'resume', event.data.generation, 'resuming');
    case 'ServerStarted':
    case 'ServerStopped':
    case 'ServerRebooted':
    case 'ServerPaused':
    case 'ServerUnpaused':
    case 'ServerSuspended':
    case 'ServerResumed':
      return operated(server, event.data.generation, event.data.power, event.data.bootId);
    case 'ServerRebuildRequested':
    case 'ServerRebuilt':
      return evolveRebuild(server, event);
    case 'ServerResizeRequested':
    case 'ServerResizeScheduled':
    case 'ServerResized':
    case 'ServerResizeConfirmRequested':
    case 'ServerResizeConfirmed':
    case 'ServerResizeRevertRequested':
    case 'ServerResizeReverted':
      return evolveResize(server, event);
    case 'ServerMigrateRequested':
    case 'ServerLiveMigrateRequested':
    case 'ServerMigrationScheduled':
    case 'ServerMigrationSent':
    case 'ServerMigrationLanded':
    case 'ServerMigrated':
    case 'ServerMigrationConfirmed':
    case 'ServerMigrationFailed':
    case 'ServerMigrationReturned':
    case 'ServerMigrationForceRequested':
    case 'ServerMigrationAbortRequested':
    case 'ServerTransferDropped':
      return evolveMigration(server, event);
    case 'ServerQuotaSettled':
      return { ...server, quotaDue: false };
    case 'ServerSnapshotRequested':
    case 'ServerSnapshotTaken':
    case 'ServerSnapshotDropped':
      return evolveSnapshot(server, event);
    case 'ServerRescueRequested':
    case 'ServerRescued':
    case 'ServerUnrescueRequested':
    case 'ServerUnrescued':
      return evolveRescue(server, event);
    case 'ServerActionFailed':
      return actionFailed(server, event.data);
    case 'ServerInterfaceAttachRequested':
    case 'ServerInterfaceAttached':
    case 'ServerInterfaceAttachFailed':
    case 'ServerInterfaceDetachRequested':
    case 'ServerInterfaceDetached':
    case 'ServerInterfaceDetachFailed':
    case 'ServerInterfaceReleased':
      return evolveInterfaces(server, event);
    case 'ServerPowerChanged':
      return {
        ...server,
        power: event.data.power,
        wantedPower: event.data.power,
        bootId: event.data.bootId,
        vmState: lasting.has(server.vmState) ? server.vmState : vmStateOf(event.data.power),
      };
    case 'ServerGuestMissing':
      return {
        ...server,
        ...(isAccepting(server) ? { ...withStatus(server, 'error'), spawned: true } : {}),
        vmState: 'error',
        taskState: server.taskState === 'deleting' ? 'deleting' : null,
        ...withoutOperation(server),
        power: 'noState',
        fault: { code: 500, message: 'The guest is no longer on its host.' },
      };
    case 'ServerGuestLost':
      return guestLost(server, event.data);
    case 'ServerGuestAbsent': {
      const left = remainsOn(server, event.data.host, event.data.attempt);
      if (left) return withoutRemains(server, left);
      return server.placement?.attempt === event.data.attempt ? { ...server, placement: null, spawned: false } : server;
    }
    case 'ServerGuestQuarantined':
    case 'ServerCrashDumpRequested':
    case 'ServerCrashDumpTriggered':
    case 'ServerCrashDumpFailed':
    case 'ServerPasswordChangeRequested':
    case 'ServerPasswordChanged':
    case 'ServerPasswordChangeFailed':
      return server;
    case 'ServerLocked':
      return { ...server, locked: true, lockedBy: event.data.by, lockedReason: event.data.reason };
    case 'ServerUnlocked':
      return { ...server, locked: false, lockedBy: null, lockedReason: null };
    case 'ServerRenamed':
      return { ...server, name: event.data.name };
    case 'ServerDescriptionChanged':
      return { ...server, description: event.data.description };
    case 'ServerHostnameChanged':
      return { ...server, hostname: event.data.hostname };
    case 'ServerPresentationChanged': {
      const { serverId: _, ...changes } = event.data;
      return { ...server, ...changes };
    }
    case 'ServerZonePinned':
      return { ...server, requestedZone: event.data.availabilityZone };
    case 'ServerMetadataChanged':
      return { ...server, metadata: event.data.metadata };
    case 'ServerTagsChanged':
      return { ...server, tags: event.data.tags };
    case 'ServerSecurityGroupsChanged':
      return { ...server, securityGroups: event.data.securityGroups };
    case 'ServerStateReset':
      return {
        ...server,
        vmState: event.data.state === 'active' && isUndecided(server) ? 'resized' : event.data.state,
        taskState: null,
        ...(event.data.keepsOperation || wasLasting(server) ? {} : withoutOperation(server)),
        fault: event.data.state === 'active' ? null : server.fault,
      };
    case 'ServerReleaseRequested':
      return { ...evolve(server, { type: 'ServerDeleteRequested', data: event.data }), releaseRequested: true };
    case 'ServerDeleteRequested':
      return droppingTransfers({
        ...server,
        ...withoutSnapshot(server),
        ...(server.migration && !isOver(server.migration) ? withStatus(server, 'error') : {}),
        ...withTombstones(server),
        deleteRequested: true,
        taskState: 'deleting',
      });
    case 'ServerDeleted':
      return { ...server, vmState: 'deleted', taskState: null, power: 'noState' };
    case 'ServerResourcesReleased':
      return { ...server, released: true };
  }
};
