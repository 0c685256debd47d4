import type {
  EventData,
  FlavorSnapshot,
  HostId,
  PowerState,
  ServerEvent,
  ServerFault,
  ServerId,
  serverEvents,
} from '@omnivisor/contracts';
import { operated, type Server, vmStateOf } from '../state/server.js';
import { claimsOf, isMove, moveOf, refuseResize, withoutClaim, withStatus } from '../state/server-moving.js';
import { guard, guardSettled, guardState, type StateRule } from '../state/server-rules.js';
import { begin, goBack } from './server-migration.js';

type Requested = EventData<typeof serverEvents, 'ServerResizeRequested'>;

export type ResizeCommand =
  | ({ readonly type: 'resize'; readonly asAdmin: boolean } & Omit<Requested, 'generation'>)
  /** The attempt has its claim on the server's host. */
  | { readonly type: 'placeResize'; readonly serverId: ServerId; readonly host: HostId; readonly attempt: number }
  /** The attempt has none there. */
  | {
      readonly type: 'refuseResize';
      readonly serverId: ServerId;
      readonly attempt: number;
      readonly fault: ServerFault;
    }
  | {
      readonly type: 'confirmResize' | 'revertResize';
      readonly serverId: ServerId;
      readonly asAdmin: boolean;
    }
  /** The quota holds what the server took at this generation. */
  | { readonly type: 'confirmQuotaSettled'; readonly serverId: ServerId; readonly generation: number };

const rules = {
  resize: { action: 'resize', from: ['active', 'stopped'], task: [null] },
  confirmResize: { action: 'confirmResize', from: ['resized'], task: [null] },
  revertResize: { action: 'revertResize', from: ['resized'], task: [null] },
} as const satisfies Record<string, StateRule>;

/** @throws DomainError when the server cannot be resized now */
export const guardResize = (server: Server, id: ServerId, asAdmin: boolean): void => {
  guard(server, id, asAdmin);
  guardState(server, id, rules.resize);
  guardSettled(server, id);
};

export const decideResize = (server: Server, command: ResizeCommand): ServerEvent[] => {
  const { serverId } = command;
  const generation = server.generation + 1;
  switch (command.type) {
    case 'resize': {
      const { type: _, asAdmin, ...wanted } = command;
      guardResize(server, serverId, asAdmin);
      return [{ type: 'ServerResizeRequested', data: { ...wanted, generation } }];
    }
    case 'placeResize': {
      const { host, attempt } = command;
      const isWanted = server.taskState === 'resize_prep' && attempt === server.attempt + 1;
      return isWanted ? [{ type: 'ServerResizeScheduled', data: { serverId, host, attempt } }] : [];
    }
    case 'refuseResize':
      if (server.taskState !== 'resize_prep' || command.attempt !== server.attempt + 1) return [];
      return refuseResize(server, serverId, command.attempt, command.fault);
    case 'confirmResize':
    case 'revertResize': {
      guard(server, serverId, command.asAdmin);
      // What its target does not tell of any more can still be gone back from.
      const isStuck = command.type === 'revertResize' && server.vmState === 'error' && server.taskState === null;
      if (!(isStuck && hasLanded(server))) guardState(server, serverId, rules[command.type]);
      if (command.type === 'confirmResize' && moveOf(server))
        return [{ type: 'ServerMigrationConfirmed', data: { serverId, generation } }];
      const type = command.type === 'confirmResize' ? 'ServerResizeConfirmRequested' : 'ServerResizeRevertRequested';
      return [{ type, data: { serverId, generation } }];
    }
    case 'confirmQuotaSettled':
      return server.quotaDue && command.generation === server.generation
        ? [{ type: 'ServerQuotaSettled', data: { serverId } }]
        : [];
  }
};

/** Placed where it moved to, with what it was before kept on its source. */
const hasLanded = (server: Server): boolean => {
  const move = moveOf(server);
  const isKept = server.remains?.some(({ placement }) => placement.host === move?.source.host);
  return isKept === true && server.placement?.attempt === move?.target.attempt && move?.kind !== 'live-migration';
};

/** The claim that ends: on confirmation that for what was before, on reversal that for the other flavor. */
export const releasedBy = (server: Server, kind: 'confirmResize' | 'revertResize'): number =>
  kind === 'revertResize' && server.migration?.target && isMove(server.migration)
    ? server.migration.target.attempt
    : claimsOf(server).at(kind === 'confirmResize' ? 0 : -1)!;

/** The guest is as before, unless nobody knows: then both claims stay, and somebody has to look. */
export const resizeFailed = (failed: Server, power: PowerState | null): Server =>
  power === null ? { ...failed, vmState: 'error' } : { ...failed, resize: undefined, quotaDue: true };

/** What the quota holds for a server: the larger of both flavors while a resize is open. */
export const sizeHeld = ({ flavor, resize }: Server): Pick<FlavorSnapshot, 'vcpus' | 'memory'> =>
  resize
    ? {
        vcpus: Math.max(resize.flavor.vcpus, resize.before.vcpus),
        memory: Math.max(resize.flavor.memory, resize.before.memory) as FlavorSnapshot['memory'],
      }
    : flavor;

type ResizeEvent = Extract<ServerEvent, { type: `ServerResize${string}` }>;

export const evolveResize = (server: Server, event: ResizeEvent): Server => {
  switch (event.type) {
    case 'ServerResizeRequested': {
      const { flavor, generation, diskConfig, migrationId } = event.data;
      const resize = { flavor, before: server.flavor, powerOn: server.vmState === 'active' };
      const begun = { ...begin(server, 'resize', migrationId, flavor), generation, resize };
      // What the last one left to be settled is settled with this one.
      return { ...server, ...(diskConfig ? { diskConfig } : {}), ...begun, taskState: 'resize_prep', quotaDue: false };
    }
    case 'ServerResizeScheduled': {
      if (!server.resize) return server;
      const { attempt } = event.data;
      const { flavor, powerOn } = server.resize;
      const claims = [...claimsOf(server), attempt];
      const begun = operating(server, 'resize', server.generation, flavor, powerOn);
      const place = withStatus(server, 'migrating', { target: server.placement });
      return { ...begun, ...place, taskState: 'resize_migrating', attempt, claims };
    }
    case 'ServerResized': {
      const { generation, power, bootId } = event.data;
      const resized = operated(server, generation, power, bootId);
      if (resized === server || !server.resize) return resized;
      return { ...resized, ...withStatus(server, 'finished'), vmState: 'resized', flavor: server.resize.flavor };
    }
    case 'ServerResizeConfirmRequested': {
      const begun = operating(server, 'confirmResize', event.data.generation, server.flavor, null);
      return { ...begun, taskState: 'resize_confirming' };
    }
    case 'ServerResizeRevertRequested': {
      if (!server.resize) return server;
      const { before, powerOn } = server.resize;
      if (moveOf(server)) return { ...goBack(server, event.data.generation), ...withStatus(server, 'reverting') };
      const begun = operating(server, 'revertResize', event.data.generation, before, powerOn);
      return { ...begun, taskState: 'resize_reverting' };
    }
    case 'ServerResizeConfirmed':
    case 'ServerResizeReverted': {
      const { generation, power, bootId, released } = event.data;
      const settled = operated(server, generation, power, bootId);
      if (settled === server) return server;
      const flavor = event.type === 'ServerResizeReverted' ? server.resize?.before : undefined;
      const status = flavor ? 'reverted' : 'confirmed';
      return {
        ...settled,
        vmState: vmStateOf(power),
        ...(server.migration?.status === 'error' ? {} : withStatus(server, status)),
        ...withoutClaim(server, released),
        flavor: flavor ?? server.flavor,
        resize: undefined,
        quotaDue: true,
      };
    }
  }
};

const operating = (
  server: Server,
  kind: 'resize' | 'confirmResize' | 'revertResize',
  generation: number,
  flavor: FlavorSnapshot,
  powerOn: boolean | null,
): Server => ({
  ...server,
  generation,
  wantedPower: powerOn === null ? server.wantedPower : powerOn ? 'running' : 'shutdown',
  operation: { generation, kind, done: false, flavor, ...(powerOn === null ? {} : { powerOn }) },
});
