import { ms } from '@omnivisor/contracts';
import { RandomIds } from '@omnivisor/platform/ports';
import { VirtualClock } from '@omnivisor/platform/testing';
import { beforeEach, describe, expect, it } from 'vitest';
import { Historian, versionsOf } from './history.js';
import { MemoryEventStore, MemoryHistory, MemoryReadModel } from './memory/index.js';
import { type Projection, UnknownEvent } from './projection.js';
import { table } from './read-model.js';
import { newEvent } from './testing/event-store-suite.js';

const KNOWN = 'ServerDeleted';
const counts = table<{ n: number }>('counts_v1');
const counting: Projection<{ n: number }> = {
  table: counts,
  keys: (event) => [event.stream],
  evolve: (row) => (row?.n === 3 ? undefined : { n: (row?.n ?? 0) + 1 }),
};

let clock: VirtualClock;
let store: MemoryEventStore;
let history: MemoryHistory;
let errors: unknown[];
let historian: Historian;
beforeEach(() => {
  clock = new VirtualClock();
  store = new MemoryEventStore(clock, new RandomIds());
  [history, errors] = [new MemoryHistory(), []];
  const projections = [counting as Projection];
  const onError = (error: unknown) => void errors.push(error);
  historian = new Historian({ store, history, projections, clock, onError, batch: 3 });
  historian.start();
});
const append = async (stream: string, type = KNOWN) =>
  store.append(stream, (await store.readStream(stream)).length - 1, [newEvent(type)]);

describe('the historian', () => {
  it('follows the log behind everybody, in batches', async () => {
    for (let n = 0; n < 10; n++) await append('a');
    await clock.advance(ms(6_000));
    expect(await history.checkpoint()).toBe(10);
    const said = await Promise.all([0, 1, 3, 4, 5, 10].map((moment) => history.at(moment).get(counts, 'a')));
    expect(said.map((row) => row?.n)).toEqual([undefined, 1, 3, undefined, 1, 2]);
    await historian.stop();
  });

  it('catches up at once for whoever asks', async () => {
    for (let n = 0; n < 7; n++) await append('a');
    expect(await (await historian.at(2)).get(counts, 'a')).toEqual({ n: 2 });
    await expect(historian.at(8)).rejects.toThrow('the log ends before position 8');
    await historian.stop();
  });

  it('stops for good at an event that it does not know, and says so to whoever asks beyond', async () => {
    await append('a');
    await append('b', 'NobodyKnowsThis');
    await clock.advance(ms(20_000));
    expect(historian.failure).toBeInstanceOf(UnknownEvent);
    expect(await (await historian.at(1)).get(counts, 'a')).toEqual({ n: 1 });
    await expect(historian.at(2)).rejects.toBe(historian.failure);
    await historian.stop();
  });
});

describe('versions', () => {
  it('are one a row and event, also when two projections share a table', async () => {
    await append('a');
    await append('a');
    const again: Projection<{ n: number }> = { ...counting, evolve: (row) => ({ n: (row?.n ?? 0) + 10 }) };
    const events = await store.readAll(0, 10);
    const versions = await versionsOf([counting, again] as Projection[], events, new MemoryReadModel());
    expect(versions.map(({ position, row }) => [position, row])).toEqual([
      [1, { n: 11 }],
      [2, { n: 22 }],
    ]);
    await historian.stop();
  });
});
