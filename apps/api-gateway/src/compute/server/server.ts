import type {
  EventData,
  FlavorSnapshot,
  HostId,
  ImageSnapshot,
  PowerOperation,
  PowerState,
  ProviderId,
  SecurityGroupId,
  ServerEvent,
  ServerFault,
  ServerId,
  ServerPort,
  serverEvents,
} from '@omnivisor/contracts';

export type VmState = 'building' | 'active' | 'paused' | 'stopped' | 'error' | 'deleted';
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
  | 'deleting';

export interface Placement {
  readonly host: HostId;
  readonly hostName: string;
  readonly node: string;
  readonly providerId: ProviderId;
  readonly attempt: number;
  readonly availabilityZone: string;
}

/** The newest power operation; while it is not done its host has to carry it out. */
export interface Operation {
  readonly generation: number;
  readonly kind: PowerOperation;
  readonly done: boolean;
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
  readonly bootId: string | null;
  readonly deleteRequested: boolean;
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

/** vm_state that follows from a power state of a server that runs no action. */
const vmStateOf = (power: PowerState): VmState =>
  power === 'running' ? 'active' : power === 'paused' || power === 'suspended' ? 'paused' : 'stopped';

const operate = (server: Server, kind: PowerOperation, generation: number, taskState: TaskState): Server => ({
  ...server,
  taskState,
  generation,
  wantedPower: kind === 'stop' ? 'shutdown' : kind === 'pause' ? 'paused' : 'running',
  operation: { generation, kind, done: false },
});

const operated = (server: Server, generation: number, power: PowerState, bootId: string): Server =>
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
    case 'ServerCreateRequested': {
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
        spawned: false,
        taskState: 'spawning',
      };
    }
    case 'ServerAttemptAbandoned':
      return { ...server, attempt: Math.max(server.attempt, event.data.attempt) };
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
    case 'ServerStarted':
    case 'ServerStopped':
    case 'ServerRebooted':
    case 'ServerPaused':
    case 'ServerUnpaused':
      return operated(server, event.data.generation, event.data.power, event.data.bootId);
    case 'ServerActionFailed': {
      const power = event.data.power ?? server.power;
      return {
        ...server,
        taskState: server.taskState === 'deleting' ? 'deleting' : null,
        operation: server.operation && { ...server.operation, done: true },
        power,
        wantedPower: power,
        vmState: server.vmState === 'error' || !server.launched ? server.vmState : vmStateOf(power),
        fault: event.data.fault,
      };
    }
    case 'ServerPowerChanged':
      return {
        ...server,
        power: event.data.power,
        wantedPower: event.data.power,
        bootId: event.data.bootId,
        vmState: server.vmState === 'error' ? 'error' : vmStateOf(event.data.power),
      };
    case 'ServerGuestMissing':
      return {
        ...server,
        vmState: 'error',
        taskState: server.taskState === 'deleting' ? 'deleting' : null,
        operation: server.operation && { ...server.operation, done: true },
        power: 'noState',
        fault: { code: 500, message: 'The guest is no longer on its host.' },
      };
    case 'ServerGuestAbsent':
      return server.placement?.attempt === event.data.attempt ? { ...server, placement: null, spawned: false } : server;
    case 'ServerGuestQuarantined':
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
        operation: server.operation && { ...server.operation, done: true },
        fault: event.data.state === 'active' ? null : server.fault,
      };
    case 'ServerDeleteRequested':
      return { ...server, deleteRequested: true, taskState: 'deleting' };
    case 'ServerDeleted':
      return { ...server, vmState: 'deleted', taskState: null, power: 'noState' };
    case 'ServerResourcesReleased':
      return { ...server, released: true };
  }
};
