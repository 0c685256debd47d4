import type {
  AdoptedGuest,
  EventData,
  FlavorSnapshot,
  HostId,
  ImageId,
  ImageSnapshot,
  Instant,
  PortId,
  PowerOperation,
  PowerState,
  ProviderId,
  SecurityGroupId,
  ServerEvent,
  ServerFault,
  ServerId,
  ServerOperation,
  ServerPort,
  ServerSnapshot,
  serverEvents,
  VaultRef,
} from '@omnivisor/contracts';
import { evolveInterfaces } from './server-interfaces.js';
import {
  type Arrival,
  evolveMigration,
  isAccepting,
  isOver,
  type Migration,
  migrationFailed,
  type Remains,
  remainsOn,
  withoutRemains,
  withoutTransfers,
  withStatus,
  withTombstones,
} from './server-migration.js';
import { isLasting } from './server-operations.js';
import { evolveRebuild, rebuildFailed } from './server-rebuild.js';
import { evolveRescue, rescueFailed } from './server-rescue.js';
import { evolveResize, resizeFailed, withoutClaim } from './server-resize.js';
import { guestLost } from './server-retirement.js';
import { evolveSnapshot, withoutOperation, withoutSnapshot } from './server-snapshot.js';

export type VmState =
  | 'building'
  | 'active'
  | 'paused'
  | 'suspended'
  | 'stopped'
  | 'rescued'
  | 'resized'
  | 'error'
  | 'deleted';
export type TaskState =
  | 'scheduling'
  | 'networking'
  | 'spawning'
  | 'powering-on'
  | 'powering-off'
  | 'rebooting'
  | 'rebooting_hard'
  | 'pausing'
  | 'unpausing'
  | 'suspending'
  | 'resuming'
  | 'rebuilding'
  | 'rescuing'
  | 'unrescuing'
  | 'image_uploading'
  | 'resize_prep'
  | 'resize_migrating'
  | 'resize_migrated'
  | 'resize_finish'
  | 'resize_confirming'
  | 'resize_reverting'
  | 'migrating'
  | 'deleting';

export interface Placement {
  readonly host: HostId;
  readonly hostName: string;
  readonly node: string;
  readonly providerId: ProviderId;
  readonly attempt: number;
  readonly availabilityZone: string;
}

/** The newest operation; while it is not done its host has to carry it out. */
export interface Operation {
  readonly generation: number;
  readonly kind: ServerOperation;
  readonly done: boolean;
  /** Of a rebuild or resize: false leaves the guest off. */
  readonly powerOn?: boolean;
  /** Of a rescue: what the guest is started from. */
  readonly image?: ImageSnapshot;
  /** Of a resize, its confirmation or reversal: the flavor that the guest has then. */
  readonly flavor?: FlavorSnapshot;
  /** Of a live migration: how its disks get there, and that it is given up. */
  readonly disks?: 'copied' | 'shared';
  readonly abort?: boolean;
  readonly force?: boolean;
  /** Of a snapshot: what becomes of it. */
  readonly snapshot?: ServerSnapshot;
  /** Of a rebuild: the image of the disks as they are until it is done. */
  readonly imageBefore?: ImageSnapshot;
}

/** Another flavor, from the request until it is confirmed or reverted. */
export interface Resize {
  readonly flavor: FlavorSnapshot;
  readonly before: FlavorSnapshot;
  /** The server ran, and runs again afterwards. */
  readonly powerOn: boolean;
}

/** An interface that the guest does not have yet, or has to give up. */
export interface PendingInterface {
  readonly portId: PortId;
  readonly change: 'attach' | 'detach';
  /** Null for what a failed attach may have left: it has no deadline, and nobody waits for it. */
  readonly since: Instant | null;
}

type Request = EventData<typeof serverEvents, 'ServerCreateRequested'>;

/** One server as its stream tells it. */
export interface Server {
  /** Null until the server was asked for. */
  readonly id: ServerId | null;
  /** The id is barred: its request never got beyond the quota. */
  readonly abandoned: boolean;
  readonly projectId: Request['projectId'];
  readonly userId: Request['userId'];
  readonly name: string;
  readonly hostname: string;
  readonly description: string | null;
  readonly image: ImageSnapshot;
  readonly flavor: FlavorSnapshot;
  readonly keyName: string | null;
  readonly publicKey: string | null;
  readonly networks: Request['networks'];
  readonly securityGroups: readonly SecurityGroupId[];
  readonly metadata: Readonly<Record<string, string>>;
  readonly tags: readonly string[];
  readonly requestedZone: string | null;
  readonly requestedHost: string | null;
  readonly hints: Readonly<Record<string, unknown>>;
  readonly configDrive: boolean;
  readonly userData: Request['userData'];
  readonly injectedFiles?: Request['injectedFiles'];
  /** Secrets that a rebuild has replaced; they are erased with the server. */
  readonly formerSecrets?: readonly VaultRef[];
  readonly reservationId: string;
  readonly launchIndex: number;
  readonly accessIpV4?: string | undefined;
  readonly accessIpV6?: string | undefined;
  readonly diskConfig?: 'AUTO' | 'MANUAL' | undefined;

  readonly vmState: VmState;
  readonly taskState: TaskState | null;
  readonly power: PowerState;
  /** What its host should make of the power. */
  readonly wantedPower: PowerState;
  readonly fault: ServerFault | null;
  readonly locked: boolean;
  readonly lockedBy: 'owner' | 'admin' | null;
  readonly lockedReason: string | null;

  /** Null until the ports were allocated. */
  readonly ports: readonly ServerPort[] | null;
  readonly interfaces?: readonly PendingInterface[];
  /** Ports that the guest has let go of, and that were not given back yet. */
  readonly releasing?: readonly PortId[];
  /** The newest attempt to build that was placed, abandoned or failed; the next one is one higher. */
  readonly attempt: number;
  /** Where the newest attempt lives; null when nothing of it is on any host. */
  readonly placement: Placement | null;
  /** True when the log has `ServerSpawned` for the placed attempt. It is never spawned again. */
  readonly spawned: boolean;
  /** The server ran at least once. */
  readonly launched: boolean;
  readonly failedHosts: readonly HostId[];
  readonly generation: number;
  readonly operation: Operation | null;
  readonly resize?: Resize | undefined;
  readonly migration?: Migration | undefined;
  /** What other hosts have of it. */
  readonly remains?: readonly Remains[];
  /** Its guest is off on the host of its placement, and not to be started: another host has, or had, the server. */
  readonly held?: boolean;
  /** Of a guest that is to be made: what was sent of it. */
  readonly arrival?: Arrival;
  /** Copies of its disks that are no longer needed. */
  readonly transfersToDrop?: readonly ImageId[];
  /** Attempts under which the scheduler holds claims for the placed guest, when not that of its placement alone. */
  readonly claims?: readonly number[] | undefined;
  /** The quota holds what another flavor takes. */
  readonly quotaDue?: boolean;
  /** Images that wait for bytes which will not come. */
  readonly imagesToDrop?: readonly ImageId[];
  /** Generation of the newest rebuild that is done. */
  readonly build?: number;
  readonly bootId: string | null;
  readonly deleteRequested: boolean;
  /** The guest that it was made of. */
  readonly adoption?: AdoptedGuest | undefined;
  /** It goes by giving its guest back. */
  readonly releaseRequested?: boolean | undefined;
  /** Ports and quota were given back after the deletion. */
  readonly released: boolean;
}

export const noServer: Server = {
  id: null,
  abandoned: false,
  projectId: '' as Request['projectId'],
  userId: '' as Request['userId'],
  name: '',
  hostname: '',
  description: null,
  image: {} as ImageSnapshot,
  flavor: {} as FlavorSnapshot,
  keyName: null,
  publicKey: null,
  networks: 'none',
  securityGroups: [],
  metadata: {},
  tags: [],
  requestedZone: null,
  requestedHost: null,
  hints: {},
  configDrive: false,
  userData: null,
  reservationId: '',
  launchIndex: 0,
  vmState: 'building',
  taskState: null,
  power: 'noState',
  wantedPower: 'running',
  fault: null,
  locked: false,
  lockedBy: null,
  lockedReason: null,
  ports: null,
  attempt: 0,
  placement: null,
  spawned: false,
  launched: false,
  failedHosts: [],
  generation: 0,
  operation: null,
  bootId: null,
  deleteRequested: false,
  released: false,
};

/** Attempts to build before a server is given up. */
export const MAX_ATTEMPTS = 3;

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
    vmState: (lasting.has(server.vmState) && !isKnownAgain) || !server.launched ? server.vmState : vmStateOf(power),
    fault,
  };
  if (server.resize && server.vmState !== 'resized') return resizeFailed(migrationFailed(failed), event.power);
  if (server.migration?.kind === 'live-migration') return migrationFailed(failed);
  if (server.operation === null || server.operation.done) return failed;
  if (server.operation.kind === 'rebuild') return rebuildFailed(failed, event.power);
  return server.operation.kind === 'rescue' ? rescueFailed(failed, event.power) : failed;
};

/** Whatever its host makes of it is still to come: the guest may be anything until then. */
const unheardOf = (server: Server, fault: ServerFault): Server => ({
  ...server,
  fault,
  taskState: server.taskState === 'deleting' ? 'deleting' : null,
  vmState:
    server.migration?.kind === 'live-migration' || (server.vmState === 'resized' && !server.held)
      ? server.vmState
      : 'error',
});

/** vm_state that follows from a power state of a server that runs no action. */
export const vmStateOf = (power: PowerState): VmState =>
  power === 'running' ? 'active' : power === 'paused' || power === 'suspended' ? power : 'stopped';

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

export const operated = (server: Server, generation: number, power: PowerState, bootId: string): Server =>
  server.operation?.generation !== generation
    ? server
    : {
        ...server,
        operation: { ...server.operation, done: true },
        taskState: server.taskState === 'deleting' ? 'deleting' : null,
        vmState: vmStateOf(power),
        power,
        wantedPower: power,
        bootId,
        fault: null,
      };

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
        vmState: event.data.state,
        taskState: null,
        ...(isLasting(server) ? {} : withoutOperation(server)),
        fault: event.data.state === 'active' ? null : server.fault,
      };
    case 'ServerReleaseRequested':
      return { ...evolve(server, { type: 'ServerDeleteRequested', data: event.data }), releaseRequested: true };
    case 'ServerDeleteRequested':
      return {
        ...server,
        ...withoutSnapshot(server),
        ...(server.migration && !isOver(server.migration) ? withStatus(server, 'error') : {}),
        ...withTombstones(server),
        ...withoutTransfers(server),
        deleteRequested: true,
        taskState: 'deleting',
      };
    case 'ServerDeleted':
      return { ...server, vmState: 'deleted', taskState: null, power: 'noState' };
    case 'ServerResourcesReleased':
      return { ...server, released: true };
  }
};
