import {
  DiscardPolicy,
  type JetStreamClient,
  type JetStreamManager,
  jetstream,
  RetentionPolicy,
  StorageType,
} from '@nats-io/jetstream';
import { headers, type NatsConnection } from '@nats-io/transport-node';
import type { Position } from '@omnivisor/contracts';
import { codeOf, isBehind, managerOf, NANOSECONDS, NO_MESSAGE, STREAM_NOT_FOUND, TIMEOUT } from './jetstream.js';

/** A message made of an event. */
export interface DerivedMessage {
  readonly subject: string;
  /** Unique; the same each time it is made. */
  readonly id: string;
  readonly body: object;
}

/** The event that a message was made of, and which of its messages it is. */
export interface MessageOrigin {
  readonly position: Position;
  readonly part: number;
}

export interface MessageStreamOptions {
  readonly name: string;
  readonly description: string;
  /** e.g. `cadf.>`. */
  readonly subjects: readonly string[];
  /** Older messages are dropped, in milliseconds. */
  readonly maxAge: number;
  readonly maxBytes: number;
}

/** Where a stream stands. */
export interface StreamEnd {
  readonly sequence: number;
  /** Null when its last message is no longer kept. */
  readonly origin: MessageOrigin | null;
}

const POSITION = 'Omnivisor-Position';
const PART = 'Omnivisor-Part';

/** A JetStream stream of messages that are made of events; each says of which. */
export class MessageStream {
  private readonly client: JetStreamClient;
  private readonly managed: () => Promise<JetStreamManager>;

  constructor(
    nats: NatsConnection,
    private readonly options: MessageStreamOptions,
  ) {
    this.client = jetstream(nats, { timeout: TIMEOUT });
    this.managed = managerOf(nats);
  }

  /** Where it ends; it is made when it is not there, and brought to the bounds wanted now. */
  async end(): Promise<StreamEnd> {
    const manager = await this.managed();
    const { name, description, subjects, maxAge, maxBytes } = this.options;
    const bounds = { max_age: maxAge * NANOSECONDS, max_bytes: maxBytes };
    const found = await manager.streams.info(name).catch((error) => {
      if (codeOf(error) === STREAM_NOT_FOUND) return undefined;
      throw error;
    });
    if (!found) {
      const fixed = { retention: RetentionPolicy.Limits, storage: StorageType.File, discard: DiscardPolicy.Old };
      await manager.streams.add({ name, description, subjects: [...subjects], ...fixed, ...bounds });
      return { sequence: 0, origin: null };
    }
    const { config, state } = found;
    if (config.max_age !== bounds.max_age || config.max_bytes !== bounds.max_bytes)
      await manager.streams.update(name, bounds);
    return { sequence: state.last_seq, origin: await this.originAt(manager, state.last_seq) };
  }

  /**
   * Publishes one message after the one of sequence `after`.
   * @returns false when somebody else did so before
   */
  async publish({ subject, id, body }: DerivedMessage, origin: MessageOrigin, after: number): Promise<boolean> {
    const marks = headers();
    marks.set(POSITION, String(origin.position));
    marks.set(PART, String(origin.part));
    try {
      await this.client.publish(subject, JSON.stringify(body), {
        msgID: id,
        headers: marks,
        expect: { lastSequence: after, streamName: this.options.name },
      });
      return true;
    } catch (error) {
      if (isBehind(error)) return false;
      throw error;
    }
  }

  private async originAt(manager: JetStreamManager, sequence: number): Promise<MessageOrigin | null> {
    if (sequence === 0) return null;
    const message = await manager.streams.getMessage(this.options.name, { seq: sequence }).catch((error) => {
      if (codeOf(error) === NO_MESSAGE) return null;
      throw error;
    });
    if (!message) return null;
    const position = Number(message.header.get(POSITION));
    const part = Number(message.header.get(PART));
    return Number.isSafeInteger(position) && position > 0 ? { position, part } : null;
  }
}
