import { type Milliseconds, type RecordedEvent, type Revision, seconds } from '@omnivisor/contracts';
import { LRUCache } from 'lru-cache';
import type { AnyAggregate } from './decider.js';
import type { EventStore } from './event-store.js';
import type { Snapshots } from './snapshot/snapshot-store.js';

export interface StreamKeeperOptions {
  readonly store: Pick<EventStore, 'readStream'>;
  readonly snapshots: Snapshots;
  readonly clock: { after(duration: Milliseconds, action: () => void): () => void };
  /** How many events a stream has at least before its state is kept, and kept anew; 1,000 when not given. */
  readonly every?: number | undefined;
  readonly onError: (where: string, error: unknown) => void;
}

/** A state that was kept, and what came after it. */
export interface Kept {
  readonly state: unknown;
  readonly revision: Revision;
  readonly news: readonly RecordedEvent[];
}

const EVERY = 1_000;
/** Characters that are written for each event at most: the larger a state, the rarer it is kept. */
const SIZE_OF_EVENT = 500;
/** A load waits behind what is being saved; the command that waits for it may as well have the stream folded. */
const PATIENCE = seconds(1);
/** Characters of one part. */
const PART = 256 * 1024;

/**
 * Keeps the state of long streams, of aggregates that say how, so that whoever meets one for the first time reads only what
 * came after. What is kept is never more than a help: when its event is not the stream's, the stream is folded.
 */
export class StreamKeeper {
  /** At which revision the next snapshot of a stream is due. */
  private readonly due = new LRUCache<string, Revision>({ max: 1_000 });
  private readonly saving = new Map<string, Promise<void>>();

  constructor(private readonly options: StreamKeeperOptions) {}

  /** @returns undefined when nothing is kept that this stream has led to */
  async resume({ kept, events }: AnyAggregate, stream: string): Promise<Kept | undefined> {
    if (!kept) return undefined;
    const { snapshots, store, onError } = this.options;
    try {
      const snapshot = await this.soon(snapshots.of(`stream ${stream}`, kept.version).load());
      if (!snapshot) return undefined;
      const text = [...snapshot.parts].join('');
      const { revision, state } = JSON.parse(text) as { revision: Revision; state: unknown };
      const [newest, ...news] = await store.readStream(stream, revision);
      if (newest?.id !== snapshot.eventId || newest.position !== snapshot.position)
        throw new Error(`revision ${revision} is of another log`);
      this.due.set(stream, revision + this.pause(text.length));
      return { state: kept.read(state), revision, news };
    } catch (error) {
      onError(`the kept state of ${events.stream} ${stream} is left alone, and the whole stream folded`, error);
      return undefined;
    }
  }

  /** Keeps a state when enough has come since; whoever waits for the state does not wait for this. @param newest in it */
  keep({ kept, events }: AnyAggregate, newest: RecordedEvent, state: unknown): void {
    const { stream, revision, position, id: eventId } = newest;
    const { every = EVERY, snapshots, onError } = this.options;
    if (!kept || this.saving.has(stream) || revision < (this.due.get(stream) ?? every)) return;
    this.due.set(stream, revision + this.pause(0));
    let text: string;
    try {
      text = asciiOf(JSON.stringify({ revision, state: kept.write(state) }));
    } catch (error) {
      onError(`keeping the state of ${events.stream} ${stream}`, error);
      return;
    }
    this.due.set(stream, revision + this.pause(text.length));
    const saved = snapshots
      .of(`stream ${stream}`, kept.version)
      .save({ position, eventId, parts: partsOf(text) })
      .catch((error) => onError(`keeping the state of ${events.stream} ${stream}`, error))
      .finally(() => this.saving.delete(stream));
    this.saving.set(stream, saved);
  }

  /** Resolves when nothing is being written. */
  async done(): Promise<void> {
    await Promise.all(this.saving.values());
  }

  private async soon<T>(work: Promise<T>): Promise<T> {
    let cancel = () => {};
    const late = new Promise<never>((_, reject) => {
      cancel = this.options.clock.after(PATIENCE, () => reject(new Error(`not there after ${PATIENCE} ms`)));
    });
    return Promise.race([work, late]).finally(cancel);
  }

  private pause(size: number): number {
    return Math.max(this.options.every ?? EVERY, Math.ceil(size / SIZE_OF_EVENT));
  }
}

/** Text in ASCII: a part must not end within a character. */
const asciiOf = (json: string): string =>
  json.replace(/[\u0080-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);

const partsOf = (text: string): string[] =>
  Array.from({ length: Math.ceil(text.length / PART) }, (_, i) => text.slice(i * PART, (i + 1) * PART));
