import { AsyncLocalStorage } from 'node:async_hooks';
import { type Instant, invalid, type Position } from '@omnivisor/contracts';
import type { EventStore } from './event-store.js';

/** A moment of the past: the newest event then, and what the clock said. */
export interface PastMoment {
  readonly position: Position;
  readonly at: Instant;
}

/**
 * Lets work see the read model as it was at one moment, however deep it asks for rows. Node pays for this only while such
 * work is under way.
 */
export class Moment {
  private readonly storage = new AsyncLocalStorage<PastMoment>();
  private running = 0;

  /** What the work at hand looks back to; undefined for the present. */
  get past(): PastMoment | undefined {
    return this.running > 0 ? this.storage.getStore() : undefined;
  }

  async run<T>(past: PastMoment, work: () => Promise<T>): Promise<T> {
    this.running++;
    try {
      return await this.storage.run(past, work);
    } finally {
      if (--this.running === 0) this.storage.disable();
    }
  }
}

/** A moment as callers name it: a position of the log, or a time with its offset (RFC 3339). */
const POSITION = /^\d{1,15}$/;
const TIME = /^(\d{4}-\d\d-\d\d)[Tt]([01]\d|2[0-3]):\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/;

/** Milliseconds; NaN for what is no time, or on a day that no month has: `Date` would go on into the next. */
const timeOf = (moment: string): number => {
  const [, day] = TIME.exec(moment) ?? [];
  const midnight = Date.parse(`${day}T00:00:00Z`);
  return !Number.isNaN(midnight) && new Date(midnight).toISOString().startsWith(`${day}T`)
    ? Date.parse(moment)
    : Number.NaN;
};

/**
 * The newest event at that moment; position 0 before the first.
 * @throws DomainError `invalid` for a text that names no moment, or one that is still to come
 */
export const momentAt = async (store: EventStore, moment: string, now: number): Promise<PastMoment> => {
  const head = await store.head();
  if (POSITION.test(moment)) {
    const position = Number(moment);
    if (position > head) throw invalid(`The log ends at position ${head}.`);
    const [event] = position === 0 ? [] : await store.readAll(position - 1, 1);
    return { position, at: event?.recordedAt ?? (new Date(0).toISOString() as Instant) };
  }
  const time = timeOf(moment);
  if (Number.isNaN(time))
    throw invalid(`'${moment.slice(0, 64)}' is neither a position of the log nor a time (RFC 3339).`);
  if (time > now) throw invalid('That moment is still to come.');
  return { position: await newestUntil(store, time, head), at: new Date(time).toISOString() as Instant };
};

/** Halves the log until one event is left: times never go back in it. */
const newestUntil = async (store: EventStore, time: number, head: Position): Promise<Position> => {
  let [known, beyond] = [0, head + 1];
  while (beyond - known > 1) {
    const middle = Math.floor((known + beyond) / 2);
    // Positions may have holes: the first event from `middle` on.
    const [event] = await store.readAll(middle - 1, 1);
    if (!event || event.position >= beyond || Date.parse(event.recordedAt) > time) beyond = middle;
    else known = event.position;
  }
  return known;
};
