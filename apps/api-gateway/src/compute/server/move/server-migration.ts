import {
  type EventData,
  type FlavorSnapshot,
  type HostId,
  type ImageId,
  type MigrationId,
  type ServerEvent,
  type ServerFault,
  type ServerId,
  type serverEvents,
  unsupported,
} from '@omnivisor/contracts';
import { type Migration, type Remains, type Resize, type Server, vmStateOf } from '../state/server.js';
import {
  canReturn,
  claimsOf,
  droppingTransfers,
  isOver,
  isSent,
  isUnplaced,
  moveOf,
  refuseResize,
  withStatus,
  withTombstones,
} from '../state/server-moving.js';
import { guard, guardSettled, guardState, type StateRule } from '../state/server-rules.js';

type Events = typeof serverEvents;

export type MigrationCommand =
  | ({ readonly type: 'migrate'; readonly asAdmin: boolean } & Omit<
      EventData<Events, 'ServerMigrateRequested'>,
      'generation'
    >)
  | ({ readonly type: 'liveMigrate'; readonly asAdmin: boolean } & Omit<
      EventData<Events, 'ServerLiveMigrateRequested'>,
      'generation'
    >)
  /** The attempt has its claim on another host. */
  | {
      readonly type: 'placeMigration';
      readonly schedule: EventData<Events, 'ServerMigrationScheduled'>;
      readonly serverId: ServerId;
    }
  /** The own host has no room for the attempt: another one may. */
  | { readonly type: 'lookElsewhere'; readonly serverId: ServerId; readonly attempt: number; readonly reason: string }
  | {
      readonly type: 'refuseMigration';
      readonly serverId: ServerId;
      readonly attempt: number;
      readonly fault: ServerFault;
    }
  /** What was sent can be had, and the ports are those of the target. */
  | { readonly type: 'land'; readonly serverId: ServerId; readonly landing: EventData<Events, 'ServerMigrationLanded'> }
  | {
      readonly type: 'failMigration';
      readonly serverId: ServerId;
      readonly attempt: number;
      readonly fault: ServerFault;
    }
  /** The ports are those of the source again. */
  | { readonly type: 'returnHome'; readonly serverId: ServerId }
  | {
      readonly type: 'forceMigration';
      readonly serverId: ServerId;
      readonly migrationId: MigrationId;
      readonly asAdmin: boolean;
    }
  | {
      readonly type: 'abortMigration';
      readonly serverId: ServerId;
      readonly migrationId: MigrationId;
      readonly asAdmin: boolean;
    }
  | { readonly type: 'confirmTransferDropped'; readonly serverId: ServerId; readonly transferId: ImageId };

const rules = {
  migrate: { action: 'migrate', from: ['active', 'stopped'], task: [null] },
  liveMigrate: { action: 'os-migrateLive', from: ['active'], task: [null] },
} as const satisfies Record<string, StateRule>;

/** @throws DomainError when the server cannot be moved now */
export const guardMigration = (server: Server, id: ServerId, asAdmin: boolean, how: keyof typeof rules): void => {
  guard(server, id, asAdmin);
  guardState(server, id, rules[how]);
  guardSettled(server, id);
  // What somebody else made of the guest nobody can make again.
  if (server.adoption) throw unsupported('The requested functionality is not supported.');
};

/** Hosts that must not get the server now: what they have of it would be in the way. */
export const hostsInTheWay = ({ placement, remains }: Server): HostId[] => [
  ...(placement ? [placement.host] : []),
  ...(remains ?? []).map((r) => r.placement.host),
];

const liveRefused = (server: Server, serverId: ServerId, attempt: number, fault: ServerFault): ServerEvent[] => [
  { type: 'ServerAttemptAbandoned', data: { serverId, attempt, reason: fault.message } },
  { type: 'ServerActionFailed', data: { serverId, action: 'live-migration', fault, power: server.power } },
];

/** No place: nothing has happened to the guest. */
export const refuseMigration = (
  server: Server,
  serverId: ServerId,
  attempt: number,
  fault: ServerFault,
): ServerEvent[] =>
  server.migration?.kind === 'live-migration'
    ? liveRefused(server, serverId, attempt, fault)
    : refuseResize(server, serverId, attempt, fault);

const lost: ServerFault = { code: 500, message: 'The guest is no longer on its host.' };

/** The guest is gone from its source before all of it was sent: nothing comes of the move. */
export const moveLost = (server: Server, serverId: ServerId): ServerEvent[] => {
  if (isUnplaced(server) || server.taskState === 'resize_prep')
    return refuseMigration(server, serverId, server.attempt + 1, lost);
  const target = moveOf(server)?.target;
  if (!target || server.held || server.placement?.host === target.host) return [];
  if (server.migration?.kind !== 'live-migration') return refuseResize(server, serverId, target.attempt, lost);
  // Its target may have made a shell for it, which is destroyed before its claim goes.
  return [
    { type: 'ServerActionFailed', data: { serverId, action: 'live-migration', fault: lost, power: server.power } },
  ];
};

const aborted: ServerFault = { code: 500, message: 'The live migration was aborted.' };

export const decideMigration = (server: Server, command: MigrationCommand): ServerEvent[] => {
  const { serverId } = command;
  const { migration } = server;
  const isNext = (attempt: number) => isUnplaced(server) && attempt === server.attempt + 1;
  switch (command.type) {
    case 'migrate':
    case 'liveMigrate': {
      guardMigration(server, serverId, command.asAdmin, command.type);
      const { type, asAdmin: _, ...wanted } = command;
      const data = { ...wanted, generation: server.generation + 1 };
      return type === 'migrate'
        ? [{ type: 'ServerMigrateRequested', data: data as EventData<Events, 'ServerMigrateRequested'> }]
        : [{ type: 'ServerLiveMigrateRequested', data: data as EventData<Events, 'ServerLiveMigrateRequested'> }];
    }
    case 'placeMigration':
      return isNext(command.schedule.attempt) ? [{ type: 'ServerMigrationScheduled', data: command.schedule }] : [];
    case 'lookElsewhere': {
      const { attempt, reason } = command;
      return isNext(attempt) ? [{ type: 'ServerAttemptAbandoned', data: { serverId, attempt, reason } }] : [];
    }
    case 'refuseMigration':
      return isNext(command.attempt) ? refuseMigration(server, serverId, command.attempt, command.fault) : [];
    case 'land':
      return isSent(server) && migration?.target?.attempt === command.landing.attempt
        ? [{ type: 'ServerMigrationLanded', data: command.landing }]
        : [];
    case 'failMigration':
      return isSent(server) && migration?.target?.attempt === command.attempt && migration.kind !== 'live-migration'
        ? failed(server, serverId, command.fault)
        : [];
    case 'returnHome': {
      if (!canReturn(server) || !migration) return [];
      const { host, attempt } = migration.source;
      return [{ type: 'ServerMigrationReturned', data: { serverId, host, attempt } }];
    }
    case 'forceMigration': {
      guard(server, serverId, command.asAdmin);
      const isOpen = migration?.id === command.migrationId && migration.status === 'running' && !migration.aborting;
      return isOpen && !server.operation?.force ? [{ type: 'ServerMigrationForceRequested', data: { serverId } }] : [];
    }
    case 'abortMigration': {
      guard(server, serverId, command.asAdmin);
      if (migration?.id !== command.migrationId || migration.aborting) return [];
      const abort = { type: 'ServerMigrationAbortRequested', data: { serverId } } as const;
      if (isUnplaced(server)) return [abort, ...refuseMigration(server, serverId, server.attempt + 1, aborted)];
      return migration.status === 'running' ? [abort] : [];
    }
    case 'confirmTransferDropped': {
      const { transferId } = command;
      if (!server.transfersToDrop?.includes(transferId)) return [];
      return [{ type: 'ServerTransferDropped', data: { serverId, transferId } }];
    }
  }
};

/** Nothing runs anywhere: the claim of a target that never heard of it ends, and the server goes back. */
export const failed = (server: Server, serverId: ServerId, fault: ServerFault): ServerEvent[] => [
  ...(server.placement?.attempt === server.migration?.target?.attempt
    ? []
    : [
        {
          type: 'ServerAttemptAbandoned',
          data: { serverId, attempt: server.migration!.target!.attempt, reason: fault.message },
        } as const,
      ]),
  { type: 'ServerMigrationFailed', data: { serverId, generation: server.generation + 1, fault } },
];

export const begin = (
  server: Server,
  kind: Migration['kind'],
  id: MigrationId | undefined,
  flavor: FlavorSnapshot,
  more: Pick<Migration, 'requestedHost' | 'disks' | 'mayShare'> = { requestedHost: null },
): Pick<Server, 'migration'> =>
  id === undefined || !server.placement
    ? { migration: undefined }
    : {
        migration: {
          ...{ id, kind, flavor, status: 'accepted', attempt: server.attempt, source: server.placement },
          ...{ target: null, flavorBefore: server.flavor, transfers: null },
          ...more,
        },
      };

/** The guest is where it was: a move that failed before all was sent. */
export const migrationFailed = (server: Server): Server => {
  if (!server.migration || server.migration.status === 'finished' || isOver(server.migration)) return server;
  return droppingTransfers({
    ...server,
    ...withStatus(server, server.migration.aborting ? 'cancelled' : 'error'),
    ...withTombstones(server),
  });
};

type MigrationEvent = Extract<
  ServerEvent,
  { type: `ServerMigrat${string}` | 'ServerLiveMigrateRequested' | 'ServerTransferDropped' }
>;

export const evolveMigration = (server: Server, event: MigrationEvent): Server => {
  const { migration } = server;
  switch (event.type) {
    case 'ServerMigrateRequested': {
      const { generation, migrationId, requestedHost } = event.data;
      const resize: Resize = { flavor: server.flavor, before: server.flavor, powerOn: server.vmState === 'active' };
      const begun = begin(server, 'migration', migrationId, server.flavor, { requestedHost });
      return { ...server, ...begun, resize, generation, taskState: 'resize_prep' };
    }
    case 'ServerLiveMigrateRequested': {
      const { generation, migrationId, requestedHost, disks, mayShare } = event.data;
      const how = { requestedHost, disks, ...(mayShare ? { mayShare } : {}) };
      const begun = begin(server, 'live-migration', migrationId, server.flavor, how);
      return { ...server, ...begun, generation, taskState: 'migrating' };
    }
    case 'ServerMigrationScheduled':
      return scheduled(server, event.data);
    case 'ServerMigrationSent': {
      const { generation, power, bootId } = event.data;
      if (!migration || server.operation?.generation !== generation) return server;
      const isLive = migration.kind === 'live-migration';
      return {
        ...server,
        ...withStatus(server, 'post-migrating'),
        operation: { ...server.operation, done: true },
        // Of a guest that runs on its target already there is no other power to tell.
        ...(isLive ? {} : { power, wantedPower: power, bootId }),
        held: true,
        fault: null,
        vmState:
          server.vmState === 'error' ? (server.resize?.powerOn === false ? 'stopped' : 'active') : server.vmState,
        taskState: server.deleteRequested ? 'deleting' : isLive ? 'migrating' : 'resize_migrated',
      };
    }
    case 'ServerMigrationLanded':
      return landed(server, event.data);
    case 'ServerMigrated': {
      if (!migration) return server;
      const { arrival: _, ...arrived } = server;
      if (migration.kind === 'live-migration')
        return { ...arrived, ...withStatus(server, 'completed'), ...withTombstones(server) };
      return droppingTransfers({ ...arrived, ...withStatus(server, 'finished'), vmState: 'resized' });
    }
    case 'ServerMigrationConfirmed':
      return {
        ...server,
        ...withStatus(server, 'confirmed'),
        ...withTombstones(server),
        generation: event.data.generation,
        resize: undefined,
        quotaDue: true,
        vmState: vmStateOf(server.power),
      };
    case 'ServerMigrationFailed': {
      const back = droppingTransfers(goBack(server, event.data.generation));
      return { ...back, ...withStatus(back, 'error') };
    }
    case 'ServerMigrationReturned': {
      const { resize, generation } = server;
      if (!resize) return { ...server, held: false, taskState: null };
      const { before: flavor, powerOn } = resize;
      return {
        ...server,
        held: false,
        wantedPower: powerOn ? 'running' : 'shutdown',
        operation: { generation, kind: 'revertResize', done: false, flavor, powerOn },
      };
    }
    case 'ServerMigrationForceRequested':
      return { ...server, operation: server.operation && { ...server.operation, force: true } };
    case 'ServerMigrationAbortRequested':
      return {
        ...server,
        ...withStatus(server, migration?.status ?? 'error', { aborting: true }),
        operation: server.operation && { ...server.operation, abort: true },
      };
    case 'ServerTransferDropped':
      return {
        ...server,
        transfersToDrop: (server.transfersToDrop ?? []).filter((id) => id !== event.data.transferId),
      };
  }
};

const scheduled = (server: Server, data: EventData<Events, 'ServerMigrationScheduled'>): Server => {
  const { migration, generation } = server;
  if (!migration) return server;
  const { serverId: _, disks: transfers, ...target } = data;
  const { attempt } = target;
  if (migration.kind !== 'live-migration') {
    const powerOn = server.resize?.powerOn ?? true;
    return {
      ...server,
      ...withStatus(server, 'migrating', { target, transfers }),
      attempt,
      taskState: 'resize_migrating',
      operation: { generation, kind: 'migrate', done: false, powerOn },
    };
  }
  const shell: Remains = { placement: target, part: 'incoming', claims: [attempt], isPlugged: true };
  return {
    ...server,
    ...withStatus(server, 'running', { target }),
    attempt,
    remains: [...(server.remains ?? []), shell],
    operation: { generation, kind: 'liveMigrate', done: false, disks: migration.disks ?? 'copied' },
  };
};

const landed = (server: Server, { disks }: EventData<Events, 'ServerMigrationLanded'>): Server => {
  const { migration, resize, placement } = server;
  if (!migration?.target || !placement) return server;
  const { target } = migration;
  const isLive = migration.kind === 'live-migration';
  const others = (server.remains ?? []).filter((r) => r.placement.host !== target.host);
  const left: Remains = { placement, part: 'kept', claims: claimsOf(server), isPlugged: false };
  const powerOn = resize?.powerOn ?? true;
  return {
    ...server,
    placement: target,
    claims: undefined,
    held: false,
    spawned: false,
    remains: [...others, left],
    ...(disks ? { arrival: { ...disks, powerOn } } : {}),
    flavor: resize?.flavor ?? server.flavor,
    wantedPower: powerOn ? 'running' : 'shutdown',
    taskState: isLive ? 'migrating' : 'resize_finish',
  };
};

/** Placed on its source again, and off until what is on the target is gone. */
export const goBack = (server: Server, generation: number): Server => {
  const { migration, placement, resize } = server;
  if (!migration?.target) return server;
  const { source, target } = migration;
  const kept = server.remains?.find((r) => r.placement.host === source.host);
  const others = (server.remains ?? []).filter((r) => r !== kept);
  const left: Remains = { placement: target, part: 'tombstone', claims: claimsOf(server), isPlugged: true };
  const { arrival: _, ...rest } = server;
  return {
    ...rest,
    generation,
    placement: source,
    claims: kept ? kept.claims : server.claims,
    remains: placement?.host === target.host ? [...others, left] : others,
    held: true,
    spawned: true,
    flavor: resize?.before ?? server.flavor,
    power: 'shutdown',
    wantedPower: 'shutdown',
    taskState: server.deleteRequested ? 'deleting' : 'resize_reverting',
  };
};
