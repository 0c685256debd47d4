import type { EventId } from '@omnivisor/contracts';
import { EventStoreUnavailable } from '@omnivisor/eventsourcing';
import { MemorySnapshots, type Snapshot, SnapshotDamaged, type SnapshotStore } from '@omnivisor/eventsourcing/snapshot';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Simulation } from '../testing/simulation.js';
import { partsOf } from './world-snapshot.js';

let sim: Simulation;
let snapshots: SnapshotStore;
beforeEach(() => {
  sim = new Simulation();
  snapshots = new MemorySnapshots().of('world', '1');
  sim.snapshots = snapshots;
});
afterEach(() => sim.stop());

/** Some placements, and what was kept of them. */
const live = async (): Promise<Snapshot> => {
  const scheduler = await sim.scheduler();
  await sim.host(scheduler, 'a', { vcpus: 16 });
  await sim.host(scheduler, 'b', { vcpus: 16 });
  for (let i = 0; i < 6; i++) await scheduler.reserve.reserve(sim.request(await sim.server()));
  await sim.clock.advance(2_000 as never);
  await scheduler.stop();
  return (await snapshots.load())!;
};

/** From where the next scheduler read the log, and its world. */
const started = async () => {
  const from: number[] = [];
  const { readAll } = sim.store;
  sim.store.readAll = (after, limit) => {
    if (limit > 1) from.push(after);
    return readAll.call(sim.store, after, limit);
  };
  const { core } = await sim.scheduler();
  return { from: from[0], known: [...partsOf((await core.fresh()).state)].map((part) => JSON.parse(part)) };
};

const folded = async () => {
  sim.snapshots = undefined;
  return (await started()).known;
};

describe('a scheduler that starts', () => {
  it('goes on from the world that was kept', async () => {
    const kept = await live();
    expect(kept.position).toBeGreaterThan(5);
    await sim.server();
    const { from, known } = await started();
    expect(from).toBe(kept.position);
    expect(known).toEqual(await folded());
    expect(sim.errors).toEqual([]);
  });

  it.each<[string, (kept: Snapshot) => void | Promise<void>]>([
    ['is of another log', (kept) => snapshots.save({ ...kept, eventId: 'another' as EventId })],
    ['is of a longer log', (kept) => snapshots.save({ ...kept, position: kept.position + 1_000 })],
    ['is no world', (kept) => snapshots.save({ ...kept, parts: ['["position",[1]]', '["providers",[["x",null]]]'] })],
    [
      'is damaged',
      () => {
        snapshots.load = () => Promise.reject(new SnapshotDamaged('its digest is another one'));
      },
    ],
  ])('folds the whole log when what was kept %s, and says so', async (_, change) => {
    await change(await live());
    const { from, known } = await started();
    expect(from).toBe(0);
    expect(sim.errors).toMatchObject([['the snapshot of the world is left alone, and the whole log folded', {}]]);
    expect(known).toEqual(await folded());
  });

  it('keeps its world on the way already, so that the next start need not begin again', async () => {
    sim.snapshots = undefined;
    await sim.scheduler();
    for (let i = 0; i < 1_200; i++) await sim.server();
    sim.snapshots = snapshots;
    const { readAll } = sim.store;
    sim.store.readAll = async (after, limit) => {
      if (after >= 1_000) throw new EventStoreUnavailable('away');
      return readAll.call(sim.store, after, limit);
    };
    await sim.scheduler();
    expect((await snapshots.load())?.position).toBe(1_000);
    sim.store.readAll = readAll;
  });

  it('keeps no world that failed to be written, and writes it again later', async () => {
    const { save } = snapshots;
    snapshots.save = () => Promise.reject(new Error('no room'));
    const scheduler = await sim.scheduler();
    for (let i = 0; i < 6; i++) await sim.server();
    await sim.clock.advance(2_000 as never);
    expect(sim.errors).toMatchObject([['keeping the world', { message: 'no room' }]]);
    expect(await snapshots.load()).toBeUndefined();
    snapshots.save = save;
    for (let i = 0; i < 6; i++) await sim.server();
    await sim.clock.advance(2_000 as never);
    await scheduler.stop();
    expect((await snapshots.load())?.position).toBeGreaterThan(6);
  });
});
