import type {
  AdoptedGuest,
  DiskTransfers,
  EventData,
  FlavorSnapshot,
  HostId,
  ImageId,
  ImageSnapshot,
  Instant,
  MigrationId,
  PortId,
  PowerState,
  ProviderId,
  SecurityGroupId,
  ServerFault,
  ServerId,
  ServerOperation,
  ServerPort,
  ServerSnapshot,
  serverEvents,
  VaultRef,
} from '@omnivisor/contracts';

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
  /** What its build gives to the ports that it makes; ports have their own groups from then on. */
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

/** Nova's words for where a migration stands. */
export type MigrationStatus =
  | 'accepted'
  | 'migrating'
  | 'running'
  | 'post-migrating'
  | 'finished'
  | 'completed'
  | 'confirmed'
  | 'reverting'
  | 'reverted'
  | 'cancelled'
  | 'error';

/** A change of host or size: the one under way, or the newest one. */
export interface Migration {
  readonly id: MigrationId;
  readonly kind: 'migration' | 'resize' | 'live-migration';
  readonly status: MigrationStatus;
  readonly requestedHost: string | null;
  /** Of the server when it was asked for; a newer one: its own host had no room. */
  readonly attempt: number;
  readonly source: Placement;
  /** Null until it has a place; the source itself for a resize in place. */
  readonly target: Placement | null;
  readonly flavorBefore: FlavorSnapshot;
  readonly flavor: FlavorSnapshot;
  readonly transfers: DiskTransfers | null;
  /** Of a live migration. */
  readonly disks?: 'copied' | 'shared';
  /** Disks are copied only where the two hosts do not have them both. */
  readonly mayShare?: true;
  readonly aborting?: boolean;
}

/** What a host has of a server that is placed on another one. */
export interface Remains {
  readonly placement: Placement;
  /** `kept`: off, in case it is gone back to; `incoming`: a shell that waits for its guest; `tombstone`: to be destroyed. */
  readonly part: 'kept' | 'incoming' | 'tombstone';
  /** Attempts under which the scheduler holds claims for it. */
  readonly claims: readonly number[];
  /** Its ports are still plugged there. */
  readonly isPlugged: boolean;
}

/** What the disks of a guest that is about to be made are made of. */
export interface Arrival {
  readonly root: ImageSnapshot;
  readonly ephemeral: ImageSnapshot | null;
  readonly powerOn: boolean;
}

/** vm_state that follows from a power state of a server that runs no action. */
export const vmStateOf = (power: PowerState): VmState =>
  power === 'running' ? 'active' : power === 'paused' || power === 'suspended' ? power : 'stopped';

/** It has moved, or has another flavor, and nobody has decided yet whether that stays so. */
export const isUndecided = ({ resize, migration }: Pick<Server, 'resize' | 'migration'>): boolean =>
  resize !== undefined && migration?.status === 'finished';

/** What a guest of that power makes of the server. */
export const vmStateWith = (server: Pick<Server, 'resize' | 'migration'>, power: PowerState): VmState =>
  isUndecided(server) ? 'resized' : vmStateOf(power);

/**
 * What an action that failed leaves. A guest that runs, or is off as it was, goes on; the others want somebody to look.
 * @param power what its host told of it; null when nobody knows
 */
export const vmStateLeft = (failed: Server, power: PowerState | null, before: PowerState): VmState =>
  power === 'running' || (power !== null && power === before && wasStopped(failed))
    ? vmStateWith(failed, power)
    : 'error';

const wasStopped = ({ vmState, operation }: Server): boolean => vmState === 'stopped' || operation?.powerOn === false;

export const operated = (server: Server, generation: number, power: PowerState, bootId: string): Server =>
  server.operation?.generation !== generation
    ? server
    : {
        ...server,
        operation: { ...server.operation, done: true },
        taskState: server.taskState === 'deleting' ? 'deleting' : null,
        vmState: vmStateWith(server, power),
        power,
        wantedPower: power,
        bootId,
        fault: null,
      };
