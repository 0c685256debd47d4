import { createHash, randomUUID } from 'node:crypto';
import {
  BACKWARDS,
  ErrorType,
  type EventType,
  excludeSystemEvents,
  FORWARDS,
  jsonEvent,
  KurrentDBClient,
  NO_STREAM as MUST_NOT_EXIST,
  type RecordedEvent as Native,
  START,
  StreamNotFoundError,
  WrongExpectedVersionError,
} from '@kurrent/kurrentdb-client';
import {
  type CommandContext,
  type EventId,
  type Instant,
  type NewEvent,
  NO_STREAM,
  type Position,
  type RecordedEvent,
  type Revision,
} from '@omnivisor/contracts';
import { LRUCache } from 'lru-cache';
import { checkStream, commandOf, storedOf, textsOf } from '../canonical.js';
import {
  type AppendResult,
  type EventStore,
  EventStoreUnavailable,
  type StoredEvent,
  WrongExpectedRevision,
} from '../event-store.js';

export interface KurrentEventStoreOptions {
  /** `kurrentdb://user:password@host:2113?tls=true…` */
  readonly url: string;
  /** How long a call is tried again while the server is away, in milliseconds. */
  readonly retryFor?: number;
  /** Streams whose commands are remembered. */
  readonly remembered?: number;
}

interface Known {
  revision: Revision;
  /** First and last revision of each command. */
  readonly commands: Map<string, [Revision, Revision]>;
}

/** In the metadata beside our own: which call appended the event. */
interface Meta extends CommandContext {
  readonly schemaVersion: number;
  readonly attempt: string;
}

const LOST: ReadonlySet<string> = new Set<ErrorType>([
  ErrorType.UNAVAILABLE,
  ErrorType.DEADLINE_EXCEEDED,
  ErrorType.TIMEOUT,
  ErrorType.CANCELLED,
  ErrorType.NOT_LEADER,
  ErrorType.UNKNOWN,
]);
/** Typed, or as the transport throws it: a plain error with gRPC's code of "unavailable", "cancelled" or the like. */
const isLost = (error: unknown): boolean => {
  const { type, code } = error as { type?: string; code?: unknown };
  return LOST.has(type ?? '') || (typeof code === 'number' && [1, 2, 4, 14].includes(code));
};

/** The same command gives the same events the same ids: what the server knows an append that is sent again by. */
const eventId = (stream: string, command: string, index: number): string => {
  const bytes = createHash('sha1').update(`omnivisor event\n${stream}\n${command}\n${index}`).digest().subarray(0, 16);
  bytes[6] = (bytes[6]! & 0x0f) | 0x50;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
};

/**
 * The log in KurrentDB. Positions are its commit positions: ordered, with holes. `recordedAt` is the server's own time,
 * which the client gives in whole seconds. Streams are read and appended at revisions only; nothing else of the server
 * is used: no subscriptions, no projections, no deletion.
 */
export class KurrentEventStore implements EventStore {
  private client: KurrentDBClient;
  private readonly known: LRUCache<string, Known>;
  private readonly listeners = new Set<(position: Position) => void>();
  private closed = false;

  constructor(private readonly options: KurrentEventStoreOptions) {
    this.known = new LRUCache({ max: options.remembered ?? 10_000 });
    // The client then answers a refused append with a wrong revision instead of an error.
    if (/throwOnAppendFailure=false/i.test(options.url)) throw new Error('throwOnAppendFailure must stay on');
    this.client = KurrentDBClient.connectionString(options.url);
  }

  async append(stream: string, expected: Revision, events: readonly NewEvent[]): Promise<AppendResult> {
    checkStream(stream);
    const command = commandOf(events);
    const texts = events.map((event) => ({ type: event.type, ...textsOf(event) }));
    let known = this.known.get(stream) ?? { revision: NO_STREAM, commands: new Map() };
    // Up to `expected` it is known which commands there were; beyond, the server refuses.
    if (known.revision < expected || known.revision === NO_STREAM) known = await this.refresh(stream);
    for (;;) {
      const before = known.commands.get(command);
      if (before) return this.result(stream, before, true);
      if (known.revision !== expected) {
        const seen = known.revision;
        known = await this.refresh(stream);
        if (known.commands.has(command) || known.revision !== seen) continue;
        throw new WrongExpectedRevision(stream, expected, known.revision);
      }
      const attempt = randomUUID();
      try {
        await this.retried(() =>
          this.client.appendToStream(
            stream,
            texts.map(({ type, payload, meta }, i) =>
              jsonEvent({
                id: eventId(stream, command, i),
                type,
                data: JSON.parse(payload),
                metadata: { ...JSON.parse(meta), attempt },
              }),
            ),
            // Never without a check.
            { streamState: expected === NO_STREAM ? MUST_NOT_EXIST : BigInt(expected) },
          ),
        );
        const range: [Revision, Revision] = [expected + 1, expected + events.length];
        const result = await this.result(stream, range, false, attempt);
        this.remember(stream, result.events);
        if (!result.duplicate) for (const listener of this.listeners) listener(result.position);
        return result;
      } catch (error) {
        if (!(error instanceof WrongExpectedVersionError)) throw error;
        known = await this.refresh(stream);
        if (!known.commands.has(command)) throw new WrongExpectedRevision(stream, expected, known.revision);
      }
    }
  }

  async appendEach(
    stream: string,
    expected: Revision,
    commands: readonly (readonly NewEvent[])[],
  ): Promise<readonly AppendResult[]> {
    for (const events of commands) events.map(textsOf);
    const results: AppendResult[] = [];
    for (const events of commands)
      try {
        results.push(await this.append(stream, results.at(-1)?.revision ?? expected, events));
        if (results.at(-1)!.duplicate) break;
      } catch (error) {
        // What is in the log already has its result; whoever asks for the rest is told then.
        if (results.length === 0) throw error;
        break;
      }
    return results;
  }

  async readStream(stream: string, from: Revision = 0): Promise<RecordedEvent[]> {
    return (await this.readNative(stream, from)).map(recorded);
  }

  async readAll(after: Position, limit: number): Promise<RecordedEvent[]> {
    return this.retried(async () => {
      const events: RecordedEvent[] = [];
      // A position is read from, not after: the event that stands at it comes once more.
      const at = BigInt(after);
      const read = this.client.readAll({
        direction: FORWARDS,
        fromPosition: after === 0 ? START : { commit: at, prepare: at },
        maxCount: limit + (after === 0 ? 0 : 1),
        filter: excludeSystemEvents(),
      });
      for await (const { event } of read)
        if (event && !event.type.startsWith('$') && positionOf(event) > after && events.length < limit)
          events.push(recorded(event));
      return events;
    });
  }

  /** The server keeps its own text of what it was given; the canonical one is made again. */
  async readStored(after: Position, limit: number): Promise<StoredEvent[]> {
    return (await this.readAll(after, limit)).map(storedOf);
  }

  async head(): Promise<Position> {
    return this.retried(async () => {
      const read = this.client.readAll({
        direction: BACKWARDS,
        fromPosition: 'end',
        maxCount: 1,
        filter: excludeSystemEvents(),
      });
      for await (const { event } of read) if (event) return positionOf(event);
      return 0;
    });
  }

  subscribe(listener: (position: Position) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  async close(): Promise<void> {
    this.closed = true;
    this.listeners.clear();
    await this.client.dispose();
  }

  private async readNative(stream: string, from: Revision, count?: number): Promise<Native<EventType>[]> {
    checkStream(stream);
    return this.retried(async () => {
      const events: Native<EventType>[] = [];
      try {
        const read = this.client.readStream(stream, {
          direction: FORWARDS,
          fromRevision: BigInt(Math.max(0, from)),
          ...(count === undefined ? {} : { maxCount: count }),
        });
        for await (const { event } of read) if (event) events.push(event);
      } catch (error) {
        if (!(error instanceof StreamNotFoundError)) throw error;
      }
      return events;
    });
  }

  /** The events of a command as they stand; a duplicate when another call appended them. */
  private async result(
    stream: string,
    [first, last]: readonly [Revision, Revision],
    duplicate: boolean,
    attempt?: string,
  ): Promise<AppendResult> {
    const native = await this.readNative(stream, first, last - first + 1);
    const events = native.map(recorded);
    const newest = events.at(-1);
    if (!newest) throw new EventStoreUnavailable('the server does not show what was appended');
    const others = attempt !== undefined && (native[0]!.metadata as unknown as Meta).attempt !== attempt;
    return { revision: newest.revision, position: newest.position, events, duplicate: duplicate || others };
  }

  private async refresh(stream: string): Promise<Known> {
    const revision = this.known.get(stream)?.revision ?? NO_STREAM;
    return this.remember(stream, await this.readStream(stream, revision + 1));
  }

  private remember(stream: string, events: readonly RecordedEvent[]): Known {
    const known = this.known.get(stream) ?? { revision: NO_STREAM, commands: new Map() };
    for (const { revision, context } of events) {
      if (revision !== known.revision + 1) continue;
      known.revision = revision;
      const range = known.commands.get(context.commandId);
      if (range) range[1] = revision;
      else known.commands.set(context.commandId, [revision, revision]);
    }
    this.known.set(stream, known);
    return known;
  }

  /**
   * Tries again while the server is away; appends carry the same ids, so that once more is harmless. A client whose
   * first read failed never reads again, so each try after a loss has a client of its own.
   */
  private async retried<T>(work: () => Promise<T>): Promise<T> {
    const end = Date.now() + (this.options.retryFor ?? 2_000);
    for (let tries = 0; ; tries++) {
      const used = this.client;
      try {
        return await work();
      } catch (error) {
        if (!isLost(error)) throw error;
        if (this.client === used && !this.closed) {
          this.client = KurrentDBClient.connectionString(this.options.url);
          // Others may still be waiting for answers on it; they fail by themselves.
          void used.dispose().catch(() => {});
        }
        if (this.closed || Date.now() >= end)
          throw new EventStoreUnavailable('the log cannot be reached', { cause: error });
        await new Promise((resolve) => setTimeout(resolve, Math.min(25 * 2 ** tries, 250)));
      }
    }
  }
}

const positionOf = (event: Native<EventType>): Position => Number(event.position?.commit ?? 0n);

const recorded = (event: Native<EventType>): RecordedEvent => {
  const { schemaVersion, attempt: _, ...context } = event.metadata as unknown as Meta;
  return {
    id: event.id as EventId,
    type: event.type,
    data: event.data,
    schemaVersion,
    stream: event.streamId,
    revision: Number(event.revision),
    position: positionOf(event),
    recordedAt: new Date(event.created).toISOString() as Instant,
    context,
  };
};
