import type { Instant, Position } from '@omnivisor/contracts';
import fc from 'fast-check';
import type { EventStore } from '../event-store.js';

/** A log of which only the beginning is known: what reads it says what was said when the log ended there. */
const beginningOf = (store: EventStore, until: () => Position): EventStore => ({
  append: () => Promise.reject(new Error('the past is not changed')),
  appendEach: () => Promise.reject(new Error('the past is not changed')),
  readStream: async (stream, from) => (await store.readStream(stream, from)).filter((e) => e.position <= until()),
  readAll: async (after, limit) => (await store.readAll(after, limit)).filter((e) => e.position <= until()),
  readStored: async (after, limit) => (await store.readStored(after, limit)).filter((e) => e.position <= until()),
  head: async () => until(),
  subscribe: () => () => {},
  close: async () => {},
});

/** Log and clock as they were at one moment of another log's life; moments are visited in order. */
export const worldThen = <C extends { now(): Instant }, S extends EventStore>({
  store,
  clock,
}: {
  store: S;
  clock: C;
}) => {
  let known: Position = 0;
  let now = new Date(0).toISOString() as Instant;
  return {
    clock: Object.create(clock, { now: { value: () => now } }) as C,
    store: beginningOf(store, () => known) as S,
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

/** The same question for a moment of the past. */
export const at = (path: string, moment: string | number) =>
  `${path}${path.includes('?') ? '&' : '?'}at=${encodeURIComponent(moment)}`;

/** Links repeat the query of their own request. */
export const withoutMoment = (text: string) => text.replace(/[?&]at=\d+/g, '');
