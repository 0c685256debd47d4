import { seconds } from '@omnivisor/contracts';
import { MemoryBus, SeededIds, VirtualClock } from '@omnivisor/platform/testing';
import { describe, expect, it } from 'vitest';
import { AppCore } from './app-core.js';
import { MemoryEventStore, MemoryReadModel } from './memory/index.js';

const setup = () => {
  const clock = new VirtualClock();
  const ids = new SeededIds();
  const store = new MemoryEventStore(clock, ids);
  const ports = { clock, ids, bus: new MemoryBus(clock), store, readModel: new MemoryReadModel(), random: () => 0.5 };
  return { clock, store, core: new AppCore(ports, [], () => {}) };
};

describe('a read', () => {
  it('is unavailable within a second when the log does not answer', async () => {
    const { clock, store, core } = setup();
    store.head = () => new Promise(() => {});
    let refused: unknown;
    void core.fresh().catch((error) => {
      refused = error;
    });
    await clock.advance(seconds(1));
    expect(refused).toMatchObject({ kind: 'unavailable' });
  });

  it('answers at once when nothing is behind', async () => {
    const { core } = setup();
    expect(await (await core.fresh()).get({ name: 'none', indexes: [] }, 'x')).toBeUndefined();
  });
});
