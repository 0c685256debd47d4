import {
  conflict,
  type EventData,
  type HostFact,
  type HostId,
  type Instant,
  type PowerOperation,
  type ServerEvent,
  type ServerFault,
  type ServerId,
  type ServerPort,
  serverEvents,
} from '@omnivisor/contracts';
import type { Aggregate } from '@omnivisor/eventsourcing';
import { type CrashDumpCommand, decideCrashDump } from '../actions/server-crash-dump.js';
import { decidePassword, type PasswordCommand } from '../actions/server-password-change.js';
import { power } from '../actions/server-power.js';
import { type RebuildCommand, rebuild } from '../actions/server-rebuild.js';
import { decideRescue, type RescueCommand } from '../actions/server-rescue.js';
import { decideSnapshot, type SnapshotCommand } from '../actions/server-snapshot.js';
import { decideInterface, type InterfaceCommand, reportInterface } from '../interfaces/server-interfaces.js';
import {
  decideMigration,
  type MigrationCommand,
  failed as moveFailed,
  moveLost,
  refuseMigration,
} from '../move/server-migration.js';
import { decideResize, type ResizeCommand, releasedBy } from '../move/server-resize.js';
import { MAX_ATTEMPTS, noServer, type Server, type TaskState } from '../state/server.js';
import { isAccepting, isGivenUp, isSent, isUnplaced, moveOf, refuseResize, remainsOn } from '../state/server-moving.js';
import { actionOf, isLasting, operations } from '../state/server-operations.js';
import { guard, serverNotFound } from '../state/server-rules.js';
import { type AdoptionCommand, adopt, releaseGuest } from './server-adoption.js';
import { evolve } from './server-evolve.js';
import { confirmed, endOnRetired, type RetirementCommand } from './server-retirement.js';

type Events = typeof serverEvents;

/** What may be asked of a server. `asAdmin` passes a lock that the owner set. */
export type ServerCommand =
  | { readonly type: 'create'; readonly request: EventData<Events, 'ServerCreateRequested'> }
  | { readonly type: 'abandonCreate'; readonly serverId: ServerId }
  /** The attempt has its place, and the server its ports on that host. */
  | {
      readonly type: 'schedule';
      readonly schedule: EventData<Events, 'ServerScheduled'>;
      readonly ports: readonly ServerPort[];
    }
  /** The next attempt cannot be made. A place that it has all the same, or gets later, the scheduler gives up. */
  | {
      readonly type: 'failBuild';
      readonly serverId: ServerId;
      readonly attempt: number;
      readonly fault: ServerFault;
    }
  | {
      readonly type: 'power';
      readonly serverId: ServerId;
      readonly operation: PowerOperation;
      readonly asAdmin: boolean;
    }
  /** The deadline of the task has passed; `task` and `generation` say which one was meant. */
  | {
      readonly type: 'expireTask';
      readonly serverId: ServerId;
      readonly task: TaskState;
      readonly generation: number;
      readonly now: Instant;
    }
  | {
      readonly type: 'report';
      readonly serverId: ServerId;
      readonly host: HostId;
      readonly attempt: number;
      readonly fact: HostFact;
      readonly now: Instant;
    }
  | {
      readonly type: 'lock';
      readonly serverId: ServerId;
      readonly reason: string | null;
      readonly by: 'owner' | 'admin';
    }
  | { readonly type: 'unlock'; readonly serverId: ServerId }
  | { readonly type: 'rename'; readonly serverId: ServerId; readonly name: string; readonly asAdmin: boolean }
  | {
      readonly type: 'describe';
      readonly serverId: ServerId;
      readonly description: string | null;
      readonly asAdmin: boolean;
    }
  | { readonly type: 'setHostname'; readonly serverId: ServerId; readonly hostname: string; readonly asAdmin: boolean }
  | {
      readonly type: 'setMetadata';
      readonly serverId: ServerId;
      readonly metadata: Readonly<Record<string, string>>;
      readonly asAdmin: boolean;
    }
  | {
      readonly type: 'present';
      readonly serverId: ServerId;
      readonly changes: Omit<EventData<Events, 'ServerPresentationChanged'>, 'serverId'>;
      readonly asAdmin: boolean;
    }
  | {
      readonly type: 'pinZone';
      readonly serverId: ServerId;
      readonly availabilityZone: string | null;
      readonly asAdmin: boolean;
    }
  | { readonly type: 'setTags'; readonly serverId: ServerId; readonly tags: readonly string[] }
  | AdoptionCommand
  | CrashDumpCommand
  | InterfaceCommand
  | MigrationCommand
  | PasswordCommand
  | RebuildCommand
  | RescueCommand
  | ResizeCommand
  | RetirementCommand
  | SnapshotCommand
  | { readonly type: 'resetState'; readonly serverId: ServerId; readonly state: 'active' | 'error' }
  | {
      readonly type: 'delete';
      readonly serverId: ServerId;
      /** Passes a lock and any state (forceDelete). */
      readonly asAdmin: boolean;
      readonly now: Instant;
    }
  | { readonly type: 'confirmReleased'; readonly serverId: ServerId };

/** Nothing of the placed guest is left; its claims end. */
const absent = ({ claims }: Server, onHost: EventData<Events, 'ServerGuestAbsent'>): ServerEvent => ({
  type: 'ServerGuestAbsent',
  data: { ...onHost, ...(claims ? { claims: [...claims] } : {}) },
});

/** Where nothing is left on its source that could be gone back to, the move is confirmed. */
const arrived = (
  server: Server,
  onHost: EventData<Events, 'ServerGuestAbsent'>,
  { power, bootId }: Extract<HostFact, { kind: 'spawned' }>,
): ServerEvent[] => {
  const { generation, migration, remains } = server;
  const isFinal = migration?.kind !== 'live-migration' && !remains?.some(({ part }) => part === 'kept');
  return [
    { type: 'ServerMigrated', data: { ...onHost, generation, power, bootId } },
    ...(isFinal ? [confirmed(server, onHost.serverId)] : []),
  ];
};

/**
 * What a host says of a server is judged here: only the host that the log places this attempt on is heard, and only
 * about what is still open. Everything else is no event.
 */
const report = (server: Server, command: Extract<ServerCommand, { type: 'report' }>): ServerEvent[] => {
  const { serverId, host, attempt, fact } = command;
  const placement = server.placement;
  const onHost = { serverId, host, attempt };
  if (!placement || placement.host !== host || placement.attempt !== attempt) {
    const left = remainsOn(server, host, attempt);
    if (left?.part !== 'tombstone' || fact.kind !== 'absent') return [];
    return [{ type: 'ServerGuestAbsent', data: { ...onHost, claims: [...left.claims] } }];
  }
  switch (fact.kind) {
    case 'spawned':
      if (server.spawned && !isGivenUp(server)) return [];
      return [
        { type: 'ServerSpawned', data: { ...onHost, power: fact.power, bootId: fact.bootId } },
        ...((moveOf(server) || isGivenUp(server)) && !server.deleteRequested ? arrived(server, onHost, fact) : []),
      ];
    case 'spawnFailed': {
      if (server.spawned) return [];
      const failed: ServerEvent[] = [
        { type: 'ServerSpawnFailed', data: { ...onHost, reason: fact.reason } },
        absent(server, onHost),
      ];
      if (server.deleteRequested && server.vmState !== 'deleted')
        failed.push({ type: 'ServerDeleted', data: { serverId, at: command.now, hostConfirmed: true } });
      else if (server.vmState === 'building' && server.adoption)
        failed.push({ type: 'ServerBuildFailed', data: { serverId, fault: { code: 500, message: fact.reason } } });
      else if (moveOf(server)) failed.push(...moveFailed(server, serverId, { code: 500, message: fact.reason }));
      else if (server.vmState === 'building' && attempt >= MAX_ATTEMPTS)
        failed.push({
          type: 'ServerBuildFailed',
          data: {
            serverId,
            fault: {
              code: 500,
              message: `Exceeded maximum number of retries. Exhausted all hosts available for retrying build failures for instance ${serverId}. ${fact.reason}`,
            },
          },
        });
      return failed;
    }
    case 'operationDone': {
      const operation = server.operation;
      if (!operation || operation.done || operation.generation !== fact.generation) return [];
      const { kind } = operation;
      const data = { ...onHost, generation: fact.generation, power: fact.power, bootId: fact.bootId };
      if (kind === 'confirmResize' || kind === 'revertResize')
        return [{ type: operations[kind].done, data: { ...data, released: releasedBy(server, kind) } }];
      return [{ type: operations[kind].done, data }];
    }
    case 'operationFailed': {
      const operation = server.operation;
      if (!operation || operation.done || operation.generation !== fact.generation) return [];
      const fault = { code: fact.unsupported ? 501 : 500, message: fact.reason };
      // The guest is as before, and so is its claim.
      if (operation.kind === 'migrate' || (operation.kind === 'resize' && fact.power !== null))
        return refuseResize(server, serverId, server.attempt, fault, fact.power);
      const action = actionOf(server)!;
      return [{ type: 'ServerActionFailed', data: { serverId, action, fault, power: fact.power } }];
    }
    case 'interfaceDone':
    case 'interfaceFailed':
      return server.spawned && !server.deleteRequested ? reportInterface(server, onHost, fact) : [];
    case 'powerChanged': {
      if (!server.spawned || server.held || server.deleteRequested || fact.power === server.power) return [];
      if (server.operation && !server.operation.done) return [];
      const cause = server.bootId !== null && server.bootId !== fact.bootId ? 'hostBoot' : 'guest';
      return [{ type: 'ServerPowerChanged', data: { ...onHost, power: fact.power, cause, bootId: fact.bootId } }];
    }
    case 'missing':
      if (server.held || server.deleteRequested || server.power === 'noState') return [];
      if (!server.spawned && !isAccepting(server)) return [];
      return [...moveLost(server, serverId), { type: 'ServerGuestMissing', data: onHost }];
    case 'absent': {
      // Only a tombstone makes an absence final; without one it would be a missing guest.
      if (!server.deleteRequested) return [];
      const gone: ServerEvent[] = [absent(server, onHost)];
      if (server.vmState !== 'deleted')
        gone.push({ type: 'ServerDeleted', data: { serverId, at: command.now, hostConfirmed: true } });
      return gone;
    }
  }
};

const remove = (server: Server, id: ServerId, asAdmin: boolean, now: Instant): ServerEvent[] => {
  guard(server, id, asAdmin);
  if (server.deleteRequested) return [];
  const requested: ServerEvent = { type: 'ServerDeleteRequested', data: { serverId: id } };
  // A claim may be under way for the next attempt: barring it lets the scheduler release it.
  const barred: ServerEvent = {
    type: 'ServerAttemptAbandoned',
    data: { serverId: id, attempt: server.attempt + 1, reason: 'the server was deleted' },
  };
  if (server.placement) {
    if (isUnplaced(server) || server.taskState === 'resize_prep') return [barred, requested];
    // The target of a move that has not heard of it has nothing to destroy.
    const target = moveOf(server)?.target;
    const isUnheard =
      target && server.placement.host !== target.host && !remainsOn(server, target.host, target.attempt);
    if (!isUnheard) return [requested];
    return [{ ...barred, data: { ...barred.data, attempt: target.attempt } } as ServerEvent, requested];
  }
  return [requested, barred, { type: 'ServerDeleted', data: { serverId: id, at: now, hostConfirmed: true } }];
};

const expire = (server: Server, command: Extract<ServerCommand, { type: 'expireTask' }>): ServerEvent[] => {
  const { serverId, task, generation, now } = command;
  if (server.taskState !== task || server.generation !== generation) return [];
  const fault = (message: string): ServerFault => ({ code: 500, message });
  switch (task) {
    case 'deleting':
      if (server.vmState === 'deleted') return [];
      return [{ type: 'ServerDeleted', data: { serverId, at: now, hostConfirmed: false } }];
    case 'scheduling':
    case 'networking':
    case 'spawning': {
      const failed: ServerEvent = {
        type: 'ServerBuildFailed',
        data: { serverId, fault: fault('Build of instance timed out: its host did not answer in time.') },
      };
      if (server.placement) return [failed];
      return [
        {
          type: 'ServerAttemptAbandoned',
          data: { serverId, attempt: server.attempt + 1, reason: 'the build timed out' },
        },
        failed,
      ];
    }
    case 'resize_prep':
      return refuseResize(server, serverId, server.attempt + 1, fault('The scheduler did not answer in time.'));
    case 'resize_migrated':
      return isSent(server) ? moveFailed(server, serverId, fault('What was sent could not be had in time.')) : [];
    default: {
      if (isUnplaced(server))
        return refuseMigration(server, serverId, server.attempt + 1, fault('The scheduler did not answer in time.'));
      const data = {
        serverId,
        action: actionOf(server) ?? task,
        fault: fault('The action did not end in time: the host did not answer.'),
        power: null,
      };
      const isOpen = isLasting(server) || moveOf(server) !== undefined || server.held === true;
      return [{ type: 'ServerActionFailed', data: isOpen ? { ...data, unheard: true } : data }];
    }
  }
};

const givenUp: ServerFault = { code: 500, message: 'An administrator set the state by hand.' };
const changed = (event: ServerEvent, same: boolean): ServerEvent[] => (same ? [] : [event]);
const equal = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

export const decide = (command: ServerCommand, server: Server): ServerEvent[] => {
  if (command.type === 'create') {
    if (server.abandoned) throw conflict('The request for this server was given up.');
    return server.id === null ? [{ type: 'ServerCreateRequested', data: command.request }] : [];
  }
  if (command.type === 'adopt') return adopt(command, server);
  if (command.type === 'abandonCreate')
    return server.id !== null || server.abandoned
      ? []
      : [{ type: 'ServerCreateAbandoned', data: { serverId: command.serverId } }];
  if (command.type === 'schedule') {
    const { serverId, attempt } = command.schedule;
    if (server.placement?.attempt === attempt) return [];
    const wanted = server.id !== null && !server.deleteRequested && server.vmState === 'building';
    if (!wanted || server.placement || attempt !== server.attempt + 1)
      throw conflict(`Attempt ${attempt} of instance ${serverId} is not wanted any more.`);
    const scheduled: ServerEvent = { type: 'ServerScheduled', data: command.schedule };
    if (server.ports) return [scheduled];
    return [{ type: 'ServerPortsAllocated', data: { serverId, ports: [...command.ports] } }, scheduled];
  }
  const id = command.serverId;
  if (server.id === null) throw serverNotFound(id);
  switch (command.type) {
    case 'failBuild': {
      const { attempt, fault } = command;
      if (attempt !== server.attempt + 1) return [];
      const failed: ServerEvent[] = [
        { type: 'ServerAttemptAbandoned', data: { serverId: id, attempt, reason: fault.message } },
      ];
      if (server.vmState === 'building' && !server.deleteRequested)
        failed.push({ type: 'ServerBuildFailed', data: { serverId: id, fault } });
      return failed;
    }
    case 'power':
      return power(server, id, command.operation, command.asAdmin);
    case 'releaseGuest':
      return releaseGuest(command, server);
    case 'rebuild':
      return rebuild(server, command);
    case 'resize':
    case 'placeResize':
    case 'refuseResize':
    case 'confirmResize':
    case 'revertResize':
    case 'confirmQuotaSettled':
      return decideResize(server, command);
    case 'migrate':
    case 'liveMigrate':
    case 'placeMigration':
    case 'lookElsewhere':
    case 'refuseMigration':
    case 'land':
    case 'failMigration':
    case 'returnHome':
    case 'forceMigration':
    case 'abortMigration':
    case 'confirmTransferDropped':
      return decideMigration(server, command);
    case 'snapshot':
    case 'confirmSnapshotDropped':
      return decideSnapshot(server, command);
    case 'crashDump':
    case 'settleCrashDump':
      return decideCrashDump(server, command);
    case 'changePassword':
    case 'settlePassword':
      return decidePassword(server, command);
    case 'rescue':
    case 'unrescue':
      return decideRescue(server, command);
    case 'expireTask':
      return expire(server, command);
    case 'attachInterface':
    case 'detachInterface':
    case 'expireInterface':
    case 'confirmInterfaceReleased':
      return decideInterface(server, command);
    case 'report':
      return report(server, command);
    case 'lock':
      guard(server, id, true);
      return changed(
        { type: 'ServerLocked', data: { serverId: id, reason: command.reason, by: command.by } },
        server.locked && server.lockedReason === command.reason && server.lockedBy === command.by,
      );
    case 'unlock':
      guard(server, id, true);
      return changed({ type: 'ServerUnlocked', data: { serverId: id } }, !server.locked);
    case 'rename':
      guard(server, id, command.asAdmin);
      return changed(
        { type: 'ServerRenamed', data: { serverId: id, name: command.name } },
        server.name === command.name,
      );
    case 'describe':
      guard(server, id, command.asAdmin);
      return changed(
        { type: 'ServerDescriptionChanged', data: { serverId: id, description: command.description } },
        server.description === command.description,
      );
    case 'setHostname':
      guard(server, id, command.asAdmin);
      return changed(
        { type: 'ServerHostnameChanged', data: { serverId: id, hostname: command.hostname } },
        server.hostname === command.hostname,
      );
    case 'setMetadata':
      guard(server, id, command.asAdmin);
      return changed(
        { type: 'ServerMetadataChanged', data: { serverId: id, metadata: { ...command.metadata } } },
        equal(server.metadata, command.metadata),
      );
    case 'present':
      guard(server, id, command.asAdmin);
      return changed(
        { type: 'ServerPresentationChanged', data: { ...command.changes, serverId: id } },
        Object.entries(command.changes).every(([k, v]) => server[k as keyof typeof command.changes] === v),
      );
    case 'pinZone':
      guard(server, id, command.asAdmin);
      return changed(
        { type: 'ServerZonePinned', data: { serverId: id, availabilityZone: command.availabilityZone } },
        server.requestedZone === command.availabilityZone,
      );
    case 'setTags':
      guard(server, id, true);
      return changed(
        { type: 'ServerTagsChanged', data: { serverId: id, tags: [...command.tags] } },
        equal(server.tags, command.tags),
      );
    case 'resetState':
      guard(server, id, true);
      return [
        ...(server.taskState === 'resize_prep' || isUnplaced(server)
          ? refuseMigration(server, id, server.attempt + 1, givenUp)
          : []),
        {
          type: 'ServerStateReset',
          data: { serverId: id, state: command.state, ...(isLasting(server) ? { keepsOperation: true } : {}) },
        },
      ];
    case 'delete':
      return remove(server, id, command.asAdmin, command.now);
    case 'endOnRetired':
      return endOnRetired(server, command);
    case 'confirmReleased':
      if (server.vmState !== 'deleted' || server.released) return [];
      return [{ type: 'ServerResourcesReleased', data: { serverId: id } }];
  }
};

/** The rules of `server-<id>` streams. */
export const serverAggregate: Aggregate<Server, ServerCommand, ServerEvent> = {
  events: serverEvents,
  initial: noServer,
  decide,
  evolve,
};
