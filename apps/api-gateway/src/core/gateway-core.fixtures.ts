import { type CommandContext, type CommandId, ms, type RequestId } from '@omnivisor/contracts';
import type { Projection } from '@omnivisor/eventsourcing';
import { MemoryEventStore, MemoryHistory, MemoryReadModel } from '@omnivisor/eventsourcing/memory';
import { MemoryBus, SeededIds, VirtualClock } from '@omnivisor/platform/testing';
import { GatewayCore } from './gateway-core.js';

/** A gateway core in memory on virtual time, for specs. Several may share one `world`. */
export const memoryWorld = (seed = 1) => {
  const clock = new VirtualClock();
  const ids = new SeededIds(seed);
  return {
    clock,
    ids,
    bus: new MemoryBus(clock),
    store: new MemoryEventStore(clock, ids),
    readModel: new MemoryReadModel(),
    history: new MemoryHistory(),
    random: () => 0.5,
  };
};

export const memoryCore = (
  projections: readonly object[],
  world = memoryWorld(),
  onError: (where: string, error: unknown) => void = () => {},
) => ({ world, core: new GatewayCore(world, projections as readonly Projection[], onError) });

let commands = 0;
/** Context of a user's command; `commandId` as given, or one of its own. */
export const userContext = (commandId?: string, requestNumber = 1): CommandContext => {
  const requestId = `req-00000000-0000-4000-8000-${String(requestNumber).padStart(12, '0')}` as RequestId;
  return {
    actor: { kind: 'user', userId: 'u1', projectId: 'p1', roles: ['member'], address: '127.0.0.1' },
    requestId,
    correlationId: requestId,
    causationId: null,
    commandId: (commandId ?? `test-${commands++}`) as CommandId,
  };
};

export const minutes = (n: number) => ms(n * 60_000);
