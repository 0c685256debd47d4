import type { Milliseconds, Position, RecordedEvent } from '@omnivisor/contracts';
import type { EventStore } from '../event-store.js';
import { upToUnknown } from '../projection.js';
import { Loop } from './loop.js';
import type { DerivedMessage, MessageStream } from './message-stream.js';
import { RelayRefused } from './relay.js';

export interface MessageRelayOptions {
  readonly store: EventStore;
  readonly stream: Pick<MessageStream, 'end' | 'publish'>;
  /** Messages of an event; the same each time. */
  readonly messagesOf: (event: RecordedEvent) => Promise<readonly DerivedMessage[]>;
  readonly clock: { after(duration: Milliseconds, action: () => void): () => void };
  readonly onError: (error: unknown) => void;
  /** The net below lost wake-ups. */
  readonly poll?: Milliseconds;
}

interface Cursor {
  /** The event that comes next is after this position. */
  position: Position;
  /** Messages of that event that are published already. */
  parts: number;
  /** Last sequence of the stream. */
  sequence: number;
}

const BATCH = 200;

/**
 * Publishes what is made of the log, in its order and once: where the stream ends is where it goes on, and the expected
 * last sequence keeps several replicas apart. A new stream begins with what happens from now on; so does one whose last
 * message was dropped for its age.
 */
export class MessageRelay {
  /** Set when it stopped for good. */
  failure: RelayRefused | undefined;
  private readonly loop: Loop;
  private cursor: Cursor | undefined;

  constructor(private readonly options: MessageRelayOptions) {
    const { store, clock, poll } = options;
    this.loop = new Loop({ store, clock, poll, step: () => this.step(), failed: (error) => this.failed(error) });
  }

  start(): void {
    this.loop.start();
  }

  stop(): Promise<void> {
    return this.loop.stop();
  }

  private failed(error: unknown): boolean {
    this.cursor = undefined;
    if (error instanceof RelayRefused) this.failure = error;
    this.options.onError(error);
    return this.failure !== undefined;
  }

  private async step(): Promise<boolean> {
    this.cursor ??= await this.lookUp();
    const { cursor } = this;
    const events = upToUnknown(await this.options.store.readAll(cursor.position, BATCH));
    for (const event of events) {
      const messages = await this.options.messagesOf(event);
      for (; cursor.parts < messages.length; cursor.parts++) {
        const origin = { position: event.position, part: cursor.parts };
        if (!(await this.options.stream.publish(messages[cursor.parts]!, origin, cursor.sequence))) {
          // Another replica is at work: look where it has come to.
          this.cursor = undefined;
          return true;
        }
        cursor.sequence++;
      }
      cursor.position = event.position;
      cursor.parts = 0;
    }
    return events.length === BATCH;
  }

  private async lookUp(): Promise<Cursor> {
    const { sequence, origin } = await this.options.stream.end();
    const head = await this.options.store.head();
    if (!origin) return { position: head, parts: 0, sequence };
    if (head < origin.position)
      throw new RelayRefused(`the log ends at ${head}, but the stream has a message of ${origin.position}`);
    return { position: origin.position - 1, parts: origin.part + 1, sequence };
  }
}
