import type { Milliseconds, Position } from '@omnivisor/contracts';
import type { EventStore } from '../event-store.js';
import type { EventStream } from './event-stream.js';
import { Loop } from './loop.js';

export interface RelayOptions {
  readonly store: EventStore;
  readonly stream: EventStream;
  readonly clock: { after(duration: Milliseconds, action: () => void): () => void };
  readonly onError: (error: unknown) => void;
  /** Events that are under way at the same time. */
  readonly batch?: number;
  /** How many of the log's newest events a stream begins with that had to be made. */
  readonly history?: number;
  /** How long it waits for more to publish after an append; 250 ms when not given. */
  readonly gather?: Milliseconds;
  /** The net below lost wake-ups. */
  readonly poll?: Milliseconds;
}

/**
 * The log and the stream do not belong together: the log was restored from an older copy, or is another one. Consumers
 * of the stream have seen events that the log does not have. Give the stream a new name, and tell them.
 */
export class RelayRefused extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'RelayRefused';
  }
}

/**
 * Publishes the log to the world outside. It keeps no position of its own: the stream's last sequence is where it goes
 * on, and the expected last sequence of each message keeps several relays from publishing twice or out of order.
 */
export class Relay {
  /** Set when it stopped for good. */
  failure: RelayRefused | undefined;
  private readonly loop: Loop;
  /** Where the stream stands; undefined when that must be looked up. */
  private at: Position | undefined;
  private checked = false;

  constructor(private readonly options: RelayOptions) {
    const { store, clock, poll, gather } = options;
    this.loop = new Loop({
      store,
      clock,
      poll,
      gather,
      step: () => this.step(),
      failed: (error) => this.failed(error),
    });
  }

  start(): void {
    this.loop.start();
  }

  stop(): Promise<void> {
    return this.loop.stop();
  }

  private failed(error: unknown): boolean {
    this.at = undefined;
    this.checked = false;
    if (error instanceof RelayRefused) this.failure = error;
    this.options.onError(error);
    return this.failure !== undefined;
  }

  /** @returns true when there may be more to do at once */
  private async step(): Promise<boolean> {
    const { store, stream } = this.options;
    const limit = this.options.batch ?? 200;
    if (this.at === undefined) this.at = await this.lookUp();
    const events = await store.readAll(this.at, limit);
    const last = events.at(-1);
    if (!last) return false;
    for (const [i, event] of events.entries())
      if (event.position !== this.at + 1 + i) throw new RelayRefused('the relay needs a log without holes');
    if (await stream.publish(events)) {
      this.at = last.position;
      return events.length === limit;
    }
    // Another relay is at work: it publishes the rest as well as this one would.
    const before = this.at;
    this.at = await this.lookUp();
    return this.at !== before || this.loop.again;
  }

  private async lookUp(): Promise<Position> {
    const { store, stream } = this.options;
    const last = await stream.last();
    if (last === undefined) {
      await stream.create(Math.max(0, (await store.head()) - (this.options.history ?? 100_000)));
      this.checked = true;
      return (await stream.last()) ?? 0;
    }
    const head = await store.head();
    if (head < last) throw new RelayRefused(`the log ends at ${head}, but the stream at ${last}`);
    if (!this.checked) {
      await this.compare(last);
      await stream.bound();
      this.checked = true;
    }
    return last;
  }

  /** The newest message that is kept must be the event that the log has there. */
  private async compare(last: Position): Promise<void> {
    if (last === 0) return;
    const published = await this.options.stream.eventAt(last);
    if (published === undefined) return;
    const [event] = await this.options.store.readAll(last - 1, 1);
    if (event?.id !== published)
      throw new RelayRefused(`the event at position ${last} is not the one that was published`);
  }
}
