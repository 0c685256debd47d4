import type { Instant, Position } from '@omnivisor/contracts';
import type { EventStore } from '@omnivisor/eventsourcing';
import fc from 'fast-check';
import { memoryWorld } from './gateway-core.fixtures.js';

/** A log of which only the beginning is known: what reads it says what was said when the log ended there. */
const beginningOf = (store: EventStore, until: () => Position): EventStore => ({
  ...store,
  append: () => Promise.reject(new Error('the past is not changed')),
  readStream: async (stream, from) => (await store.readStream(stream, from)).filter((e) => e.position <= until()),
  readAll: async (after, limit) => (await store.readAll(after, limit)).filter((e) => e.position <= until()),
  readStored: async (after, limit) => (await store.readStored(after, limit)).filter((e) => e.position <= until()),
  head: async () => until(),
  subscribe: () => () => {},
  close: async () => {},
});

/** A world as it was at one moment of another one; moments are visited in order. */
export const worldThen = ({ store, clock }: ReturnType<typeof memoryWorld>) => {
  let known: Position = 0;
  let now: Instant = new Date(0).toISOString() as Instant;
  return {
    world: {
      ...memoryWorld(),
      clock: Object.create(clock, { now: { value: () => now } }) as typeof clock,
      store: beginningOf(store, () => known) as typeof store,
    },
    goTo: async (position: Position) => {
      known = position;
      now = (await store.readAll(position - 1, 1))[0]!.recordedAt;
    },
  };
};

/** A thousand moments of a log, in order. */
export const thousandMoments = async (store: EventStore): Promise<Position[]> => {
  const head = await store.head();
  const moments = fc.sample(fc.integer({ min: 1, max: head }), { numRuns: 1_000, seed: 11 });
  return moments.sort((a, b) => a - b);
};

export const at = (path: string, moment: string | number) =>
  `${path}${path.includes('?') ? '&' : '?'}at=${encodeURIComponent(moment)}`;

/** Links repeat the query of their own request. */
export const withoutMoment = (text: string) => text.replace(/[?&]at=\d+/g, '');
