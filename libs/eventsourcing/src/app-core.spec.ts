import { seconds } from '@omnivisor/contracts';
import { MemoryBus, SeededIds, VirtualClock } from '@omnivisor/platform/testing';
import { describe, expect, it } from 'vitest';
import { AppCore } from './app-core.js';
import { MemoryEventStore, MemoryHistory, MemoryReadModel } from './memory/index.js';
import { newEvent } from './testing/event-store-suite.js';

const setup = () => {
  const clock = new VirtualClock();
  const ids = new SeededIds();
  const store = new MemoryEventStore(clock, ids);
  const ports = { clock, ids, bus: new MemoryBus(clock), store, readModel: new MemoryReadModel(), random: () => 0.5 };
  const complaints: [string, unknown][] = [];
  const core = new AppCore({ ...ports, history: new MemoryHistory() }, [], (where, error) =>
    complaints.push([where, error]),
  );
  return { clock, store, core, complaints };
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

  it('waits for rows that are on their way, and for four seconds at most', async () => {
    const { clock, store, core } = setup();
    await store.append('x-1', -1, [newEvent('FlavorDeleted', { flavorId: 'a' })]);
    const { readAll } = store;
    store.readAll = async (...page) => {
      await clock.sleep(seconds(3));
      return readAll.apply(store, page);
    };
    const answered = core.fresh();
    await clock.advance(seconds(3));
    await answered;
    store.readAll = () => new Promise(() => {});
    await store.append('x-1', 0, [newEvent('FlavorDeleted', { flavorId: 'a' })]);
    const refused = expect(core.fresh()).rejects.toMatchObject({ kind: 'unavailable' });
    await clock.advance(seconds(4));
    await refused;
  });

  it('answers at once when nothing is behind', async () => {
    const { core } = setup();
    expect(await (await core.fresh()).get({ name: 'none', indexes: [] }, 'x')).toBeUndefined();
  });
});

describe('an event of a newer release', () => {
  it('is complained of, refuses reads of now, and leaves reads of what was before', async () => {
    const { clock, store, core, complaints } = setup();
    await store.append('x-1', -1, [newEvent('FlavorDeleted', { flavorId: 'a' })]);
    await core.start();
    await core.fresh();
    await store.append('x-1', 0, [newEvent('FlavorPainted')]);
    await clock.advance(seconds(2));
    expect(complaints).toContainEqual(['projector', core.projector.failure]);
    expect(() => core.projector.assertGoing()).toThrow('FlavorPainted version 1 at position 2 is not known');
    await expect(core.fresh()).rejects.toMatchObject({ kind: 'unavailable' });
    expect(await core.lookingBack('1', async () => (await core.fresh()) !== core.readModel)).toBe(true);
    await core.stop();
  });
});
