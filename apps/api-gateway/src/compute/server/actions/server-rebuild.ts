import type { EventData, PowerState, ServerEvent, ServerId, serverEvents } from '@omnivisor/contracts';
import { operated, type Server, vmStateLeft } from '../state/server.js';
import { guard, guardState, type StateRule } from '../state/server-rules.js';

type Requested = EventData<typeof serverEvents, 'ServerRebuildRequested'>;

export interface RebuildCommand {
  readonly type: 'rebuild';
  readonly serverId: ServerId;
  readonly wanted: Omit<Requested, 'serverId' | 'generation' | 'powerOn'>;
  readonly asAdmin: boolean;
}

const rule: StateRule = { action: 'rebuild', from: ['active', 'stopped', 'error'], task: [null] };

/** @throws DomainError when the server cannot be rebuilt now */
export const guardRebuild = (server: Server, id: ServerId, asAdmin: boolean): void => {
  guard(server, id, asAdmin);
  guardState(server, id, rule);
};

export const rebuild = (server: Server, { serverId, wanted, asAdmin }: RebuildCommand): ServerEvent[] => {
  guardRebuild(server, serverId, asAdmin);
  const powerOn = server.vmState !== 'stopped';
  const data: Requested = { ...wanted, serverId, generation: server.generation + 1, powerOn };
  return [{ type: 'ServerRebuildRequested', data }];
};

/** The guest has its old disks, unless nobody knows. */
export const rebuildFailed = (failed: Server, power: PowerState | null, before: PowerState): Server => ({
  ...failed,
  image: power === null ? failed.image : (failed.operation?.imageBefore ?? failed.image),
  vmState: vmStateLeft(failed, power, before),
});

export const evolveRebuild = (
  server: Server,
  event: Extract<ServerEvent, { type: 'ServerRebuildRequested' | 'ServerRebuilt' }>,
): Server => {
  if (event.type === 'ServerRebuilt') {
    const { generation, power, bootId } = event.data;
    const rebuilt = operated(server, generation, power, bootId);
    return rebuilt === server ? server : { ...rebuilt, build: generation };
  }
  const { serverId: _, generation, powerOn, ...wanted } = event.data;
  const { injectedFiles: files, ...before } = server;
  const replaced = [files, wanted.userData === undefined ? null : server.userData].flatMap((ref) => ref ?? []);
  return {
    ...before,
    // What was not asked for is not in the event.
    ...(wanted as Pick<Server, 'image'> & Partial<Server>),
    formerSecrets: [...(server.formerSecrets ?? []), ...replaced],
    taskState: 'rebuilding',
    generation,
    wantedPower: powerOn ? 'running' : 'shutdown',
    operation: { generation, kind: 'rebuild', done: false, powerOn, imageBefore: server.image },
  };
};
