import {
  DiscardPolicy,
  type JetStreamClient,
  type JetStreamManager,
  jetstream,
  RetentionPolicy,
  StorageType,
} from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';
import type { Position, RecordedEvent } from '@omnivisor/contracts';
import { codeOf, isBehind, managerOf, NANOSECONDS, STREAM_NOT_FOUND, TIMEOUT } from './jetstream.js';

export interface EventStreamOptions {
  /** Name of the JetStream stream. */
  readonly name: string;
  /** Events go to `<subject>.<type>`. */
  readonly subject: string;
  /** Older messages are dropped, in milliseconds. */
  readonly maxAge: number;
  readonly maxBytes: number;
  readonly replicas?: number;
}

/** The JetStream stream that mirrors the log: the event at position N is the message of sequence N. */
export class EventStream {
  private readonly client: JetStreamClient;
  private readonly managed: () => Promise<JetStreamManager>;

  constructor(
    nats: NatsConnection,
    private readonly options: EventStreamOptions,
  ) {
    this.client = jetstream(nats, { timeout: TIMEOUT });
    this.managed = managerOf(nats);
  }

  /** The sequence of the last message; undefined when there is no stream. */
  async last(): Promise<Position | undefined> {
    const manager = await this.managed();
    try {
      return (await manager.streams.info(this.options.name)).state.last_seq;
    } catch (error) {
      if (codeOf(error) === STREAM_NOT_FOUND) return undefined;
      throw error;
    }
  }

  /** Makes the stream, so that the next message is that of the event after `position`. Harmless when it is there. */
  async create(position: Position): Promise<void> {
    const { name, subject, maxAge, maxBytes, replicas } = this.options;
    const manager = await this.managed();
    try {
      await manager.streams.add({
        name,
        subjects: [`${subject}.>`],
        description: 'The event log: sequence N is position N. Everything here can be made again from the log.',
        retention: RetentionPolicy.Limits,
        storage: StorageType.File,
        discard: DiscardPolicy.Old,
        max_age: maxAge * NANOSECONDS,
        max_bytes: maxBytes,
        num_replicas: replicas ?? 1,
        first_seq: position + 1,
      });
    } catch (error) {
      // Another relay was faster, perhaps with another first sequence: its stream is as good.
      if ((await this.last()) === undefined) throw error;
    }
  }

  /** Sets the bounds of a stream that is there to those wanted now. */
  async bound(): Promise<void> {
    const manager = await this.managed();
    const { config } = await manager.streams.info(this.options.name);
    const max_age = this.options.maxAge * NANOSECONDS;
    const max_bytes = this.options.maxBytes;
    if (config.max_age !== max_age || config.max_bytes !== max_bytes)
      await manager.streams.update(this.options.name, { max_age, max_bytes });
  }

  /** The id of the event that stands at a sequence; undefined when it is no longer kept. */
  async eventAt(sequence: Position): Promise<string | undefined> {
    const manager = await this.managed();
    const message = await manager.streams.getMessage(this.options.name, { seq: sequence });
    return message?.json<RecordedEvent>().id;
  }

  /**
   * Publishes events that follow each other.
   * @returns false when another relay was faster, or the stream is not what it was: look again where it stands
   */
  async publish(events: readonly RecordedEvent[]): Promise<boolean> {
    const sent = await Promise.allSettled(
      events.map((event) =>
        this.client.publish(`${this.options.subject}.${event.type}`, JSON.stringify(event), {
          expect: { lastSequence: event.position - 1, streamName: this.options.name },
        }),
      ),
    );
    const failed = sent.find((result) => result.status === 'rejected');
    if (!failed) return true;
    if (isBehind(failed.reason)) return false;
    throw failed.reason;
  }
}
