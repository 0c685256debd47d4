import type { RecordedEvent } from '@omnivisor/contracts';
import { RandomIds } from '@omnivisor/platform/ports';
import { VirtualClock } from '@omnivisor/platform/testing';
import { describe, expect, it } from 'vitest';
import { EventStoreUnavailable } from './event-store.js';
import { MemoryEventStore, MemoryReadModel } from './memory/index.js';
import { type Projection, Projector, UnknownEvent } from './projection.js';
import { type RowChange, type Table, table } from './read-model.js';
import { newEvent } from './testing/event-store-suite.js';

interface Count {
  readonly n: number;
}
const counts = table<Count>('counts_v1');
const marks = table<{ on: boolean }>('marks_v1');
const KNOWN = 'ServerDeleted';

const counting: Projection<Count> = {
  table: counts,
  keys: (event) => [event.stream],
  evolve: (row) => ({ n: (row?.n ?? 0) + 1 }),
  derive: (key, row) => [{ table: marks as Table<never>, key, row: row ? { on: true } : undefined }],
};

const setup = () => {
  const store = new MemoryEventStore(new VirtualClock(), new RandomIds());
  const readModel = new MemoryReadModel();
  const written: RowChange[][] = [];
  const advance = readModel.advance.bind(readModel);
  readModel.advance = (work) =>
    advance(async (from, rows) => {
      const result = await work(from, rows);
      written.push([...result.changes]);
      return result;
    });
  const projector = (batch = 3) => new Projector(store, readModel, [counting as Projection], { batch });
  const append = async (stream: string, type = KNOWN) =>
    store.append(stream, (await store.readStream(stream)).length - 1, [newEvent(type)]);
  return { store, readModel, projector, append, written };
};

describe('Projector', () => {
  it('folds the log in batches up to where it is', async () => {
    const t = setup();
    for (let n = 0; n < 10; n++) await t.append(n % 2 === 0 ? 'a' : 'b');
    const projector = t.projector();
    expect(await projector.catchUp()).toBe(10);
    expect(projector.caughtUp).toBe(true);
    expect(await t.readModel.get(counts, 'a')).toEqual({ n: 5 });
    expect(await t.readModel.checkpoint()).toBe(10);
  });

  it('folds each event once, with several replicas at once', async () => {
    const t = setup();
    const replicas = [t.projector(1), t.projector(2), t.projector(7)];
    for (let n = 0; n < 40; n++) {
      const { position } = await t.append('a');
      const ends = await Promise.all(replicas.flatMap((r) => [r.catchUp(), r.catchUp(position)]));
      for (const end of ends) expect(end).toBeGreaterThanOrEqual(position);
    }
    expect(await t.readModel.get(counts, 'a')).toEqual({ n: 40 });
  });

  it('shows an append to who asks after it, also during a run', async () => {
    const t = setup();
    const projector = t.projector();
    await Promise.all(
      Array.from({ length: 30 }, async (_, n) => {
        const stream = `s${n}`;
        await t.append(stream);
        await projector.catchUp();
        expect(await t.readModel.get(counts, stream)).toEqual({ n: 1 });
      }),
    );
  });

  it('reads the page after a full one early, and again when the log has grown since', async () => {
    const t = setup();
    for (let n = 0; n < 4; n++) await t.append('a');
    const { readAll } = t.store;
    const read: number[] = [];
    t.store.readAll = (from, limit) => {
      read.push(from);
      return readAll.call(t.store, from, limit);
    };
    const projector = t.projector(3);
    const running = projector.catchUp();
    const { advance } = t.readModel;
    t.readModel.advance = (work) => {
      // The page after the first one was read by now, with one event in it.
      t.readModel.advance = advance;
      return t.append('a').then(() => advance(work));
    };
    await running;
    const { position } = await t.append('a');
    expect(await projector.catchUp(position)).toBe(position);
    expect(await t.readModel.get(counts, 'a')).toEqual({ n: position });
    expect(read.slice(0, 3)).toEqual([0, 3, 3]);
  });

  it('writes what changed and nothing else', async () => {
    const t = setup();
    await t.append('a');
    const projector = t.projector();
    await projector.catchUp();
    expect(t.written.at(-1)!.map((c) => c.table.name)).toEqual(['counts_v1', 'marks_v1']);
    await t.append('a');
    await projector.catchUp();
    expect(t.written.at(-1)!.map((c) => c.table.name)).toEqual(['counts_v1']);
    const before = t.written.length;
    await projector.catchUp();
    expect(t.written).toHaveLength(before);
  });

  it('stops at an unknown event, having folded what stands before it', async () => {
    const t = setup();
    await t.append('a');
    await t.append('a', 'FromTheFuture');
    await t.append('a');
    const projector = t.projector();
    await expect(projector.catchUp()).rejects.toBeInstanceOf(UnknownEvent);
    await expect(projector.catchUp(1)).rejects.toBeInstanceOf(UnknownEvent);
    expect(projector.failure?.message).toContain('FromTheFuture version 1 at position 2');
    expect(await t.readModel.checkpoint()).toBe(1);
    expect(await t.readModel.get(counts, 'a')).toEqual({ n: 1 });
  });

  it('does not wait for ever for a position that the log does not have', async () => {
    const t = setup();
    await t.append('a');
    const projector = t.projector();
    await expect(projector.catchUp(7)).rejects.toBeInstanceOf(EventStoreUnavailable);
    expect(await projector.catchUp()).toBe(1);
  });

  it('takes larger pieces while it is behind', async () => {
    const t = setup();
    for (let i = 0; i < 18; i++) await t.append('a');
    const pieces: number[] = [];
    const onAdvanced = (events: readonly RecordedEvent[]) => void pieces.push(events.length);
    const projector = new Projector(t.store, t.readModel, [counting as Projection], { batch: 3, onAdvanced });
    await projector.catchUp();
    for (let i = 0; i < 4; i++) await t.append('a');
    await projector.catchUp();
    expect(pieces).toEqual([3, 12, 3, 3, 1]);
    expect(await t.readModel.get(counts, 'a')).toEqual({ n: 22 });
  });

  it('goes on after the store was away', async () => {
    const t = setup();
    await t.append('a');
    const projector = t.projector();
    const readAll = t.store.readAll.bind(t.store);
    t.store.readAll = async () => {
      throw new EventStoreUnavailable('away');
    };
    await expect(projector.catchUp()).rejects.toBeInstanceOf(EventStoreUnavailable);
    t.store.readAll = readAll;
    expect(await projector.catchUp()).toBe(1);
  });

  it('changes rows beside what events do, together with an event', async () => {
    const t = setup();
    await t.append('a');
    await t.append('b');
    const advanced: number[] = [];
    const projector = new Projector(t.store, t.readModel, [counting as Projection], {
      onAdvanced: (events) => advanced.push(events.length),
    });
    await projector.catchUp();
    const amended = await projector.amend(
      async (from) => [{ table: counts as Table<never>, key: 'a', row: { n: 10 * from } }],
      async () => (await t.append('a')).position,
    );
    expect(amended).toBe(1);
    expect(await t.readModel.get(counts, 'a')).toEqual({ n: 21 });
    expect(await t.readModel.get(counts, 'b')).toEqual({ n: 1 });
    expect([await t.readModel.checkpoint(), projector.position, advanced]).toEqual([3, 3, [2, 1]]);
    const mark = async () => {
      throw new Error('there is nothing to mark');
    };
    expect(await projector.amend(async () => [], mark)).toBe(0);
  });

  it('lets two projections of one table see each other', async () => {
    const t = setup();
    const twice: Projection<Count> = { table: counts, keys: (e) => [e.stream], evolve: (row) => ({ n: row!.n * 10 }) };
    const projector = new Projector(t.store, t.readModel, [counting as Projection, twice as Projection]);
    await t.append('a');
    await projector.catchUp();
    expect(await t.readModel.get(counts, 'a')).toEqual({ n: 10 });
  });
});
