import {
  type EventId,
  type Instant,
  type NewEvent,
  NO_STREAM,
  type Position,
  type RecordedEvent,
  type Revision,
} from '@omnivisor/contracts';
import { checkStream, commandOf, recordedOf, textsOf } from '../canonical.js';
import {
  type AppendResult,
  type EventStore,
  EventStoreUnavailable,
  LogDamaged,
  type StoredEvent,
  WrongExpectedRevision,
} from '../event-store.js';
import { ConnectionLost, Link } from './link.js';
import { sharedAnswer } from './shared-answer.js';

export interface PostgresEventStoreOptions {
  /** Login of the service's role. */
  readonly url: string;
  /** Source of time-ordered event ids (UUIDv7). */
  readonly ids: { ordered(): string };
  /** How long an append is tried again while the database is away, in milliseconds. */
  readonly retryFor?: number;
  /** Appends that may wait; more are refused. */
  readonly queue?: number;
}

interface PendingCommand {
  readonly id: string;
  readonly events: readonly { id: string; type: string; payload: string; meta: string }[];
}

interface Pending {
  readonly stream: string;
  readonly expected: Revision;
  readonly commands: readonly PendingCommand[];
  readonly deadline: number;
  resolve(results: readonly AppendResult[]): void;
  reject(error: unknown): void;
}

type Answer = readonly [status: 'ok' | 'duplicate' | 'conflict', revision: number, position: number, at: number];
type EventRow = readonly [
  position: number,
  stream: string,
  revision: number,
  id: string,
  type: string,
  payload: string,
  meta: string,
  recordedAt: number,
];

const MAX_BATCH = 256;
const MAX_BATCH_BYTES = 4 * 1024 * 1024;
const PAGE = 1_000;
const COLUMNS =
  'position, stream, revision, id, type, payload, meta, (extract(epoch from recorded_at) * 1000)::bigint as at';

const stored = ([position, stream, revision, id, type, payload, meta, at]: EventRow): StoredEvent => ({
  id: id as EventId,
  type,
  stream,
  revision,
  position,
  recordedAt: new Date(at).toISOString() as Instant,
  payload,
  meta,
});

const fromRow = (row: EventRow): RecordedEvent => recordedOf(stored(row));

/**
 * The log in PostgreSQL (`migrate` makes it). Appends queue up in the process and go out together in one durable
 * statement, so that one fsync serves many. Positions are 1, 2, 3, … without holes, in the order of commits.
 */
export class PostgresEventStore implements EventStore {
  private readonly writer: Link;
  private readonly reader: Link;
  private readonly follower: Link;
  private readonly listeners = new Set<(position: Position) => void>();
  private readonly queue: Pending[] = [];
  private readonly retryFor: number;
  private flushing: Promise<void> | undefined;
  private closed = false;

  constructor(private readonly options: PostgresEventStoreOptions) {
    const { url } = options;
    this.writer = new Link({ url, name: 'omnivisor log writer' });
    // Streams and head are waited for by requests; they do not queue behind pages of the whole log.
    this.reader = new Link({ url, name: 'omnivisor log reader', pipeline: true });
    this.follower = new Link({ url, name: 'omnivisor log follower', pipeline: true });
    this.retryFor = options.retryFor ?? 2_000;
  }

  async append(stream: string, expected: Revision, events: readonly NewEvent[]): Promise<AppendResult> {
    const [result] = await this.appendEach(stream, expected, [events]);
    return result!;
  }

  appendEach(
    stream: string,
    expected: Revision,
    commands: readonly (readonly NewEvent[])[],
  ): Promise<readonly AppendResult[]> {
    return new Promise((resolve, reject) => {
      checkStream(stream);
      const texts = commands.map((events) => ({
        id: commandOf(events),
        events: events.map((event) => ({ id: this.options.ids.ordered(), type: event.type, ...textsOf(event) })),
      }));
      if (this.closed || this.queue.length >= (this.options.queue ?? 10_000))
        throw new EventStoreUnavailable(this.closed ? 'the store is closed' : 'too many appends are waiting');
      const deadline = Date.now() + this.retryFor;
      this.queue.push({ stream, expected, commands: texts, deadline, resolve, reject });
      this.flushing ??= this.flush();
    });
  }

  async readStream(stream: string, from: Revision = 0): Promise<RecordedEvent[]> {
    checkStream(stream);
    const events: RecordedEvent[] = [];
    for (let next = Math.max(0, from); ; ) {
      const rows = await this.read<EventRow>(this.reader, {
        name: 'stream',
        text: `select ${COLUMNS} from log.event where stream = $1 and revision >= $2 order by revision limit ${PAGE}`,
        values: [stream, next],
      });
      for (const row of rows) events.push(fromRow(row));
      if (rows.length < PAGE) return events;
      next += rows.length;
    }
  }

  async readAll(after: Position, limit: number): Promise<RecordedEvent[]> {
    return (await this.readStored(after, limit)).map(recordedOf);
  }

  async readStored(after: Position, limit: number): Promise<StoredEvent[]> {
    const rows = await this.read<EventRow>(this.follower, {
      name: 'all',
      text: `select ${COLUMNS} from log.event where position > $1 order by position limit $2`,
      values: [after, limit],
    });
    return rows.map((row, i) => {
      if (row[0] !== after + 1 + i) throw new LogDamaged(after + 1 + i);
      return stored(row);
    });
  }

  readonly head = sharedAnswer(async (): Promise<Position> => {
    const [row] = await this.read<[number]>(this.reader, { name: 'head', text: 'select position from log.head' });
    return row![0];
  });

  subscribe(listener: (position: Position) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Refuses further appends, and ends when those that wait have their answer. */
  async close(): Promise<void> {
    this.closed = true;
    await this.flushing;
    this.listeners.clear();
    await Promise.all([this.writer.close(), this.reader.close(), this.follower.close()]);
  }

  /** Reading twice is harmless, so a connection that was lost while idle costs one more try. */
  private async read<Row extends readonly unknown[]>(
    link: Link,
    statement: { name: string; text: string; values?: readonly unknown[] },
  ): Promise<Row[]> {
    try {
      return await link.repeatable<Row>(statement);
    } catch (error) {
      if (error instanceof ConnectionLost) throw new EventStoreUnavailable('the log cannot be read', { cause: error });
      throw error;
    }
  }

  private async flush(): Promise<void> {
    await Promise.resolve();
    while (this.queue.length > 0) {
      let bytes = 0;
      let count = 0;
      for (const item of this.queue) {
        for (const { events } of item.commands)
          for (const { payload, meta } of events) bytes += payload.length + meta.length;
        if (count >= MAX_BATCH || (count > 0 && bytes > MAX_BATCH_BYTES)) break;
        count++;
      }
      await this.send(this.queue.splice(0, count));
    }
    this.flushing = undefined;
  }

  /** Appends one batch and answers each of its items; never rejects. */
  private async send(batch: readonly Pending[]): Promise<void> {
    let waiting = batch;
    for (let tries = 0; waiting.length > 0; tries++) {
      try {
        this.settle(waiting, await this.call(waiting));
        return;
      } catch (error) {
        if (!(error instanceof ConnectionLost)) {
          // One item that the database refuses must not take the others with it.
          if (waiting.length === 1) return waiting[0]!.reject(error);
          for (const item of waiting) await this.send([item]);
          return;
        }
        const now = Date.now();
        for (const item of waiting)
          if (item.deadline <= now)
            item.reject(new EventStoreUnavailable('whether the events were appended is not known', { cause: error }));
        waiting = waiting.filter((item) => item.deadline > now);
        await new Promise((resolve) => setTimeout(resolve, Math.min(25 * 2 ** tries, 250)));
      }
    }
  }

  private call(items: readonly Pending[]): Promise<Answer[]> {
    const columns: [(number | null)[], string[], (number | null)[], (string | null)[], ...string[][]] = [
      [],
      [],
      [],
      [],
      [],
      [],
      [],
      [],
    ];
    for (const { stream, expected, commands } of items)
      for (const [n, command] of commands.entries())
        for (const [i, event] of command.events.entries()) {
          const first = i === 0;
          columns[0].push(first ? command.events.length : null);
          columns[1].push(stream);
          columns[2].push(first && n === 0 ? expected : null);
          columns[3].push(first ? command.id : null);
          columns[4]!.push(event.id);
          columns[5]!.push(event.type);
          columns[6]!.push(event.payload);
          columns[7]!.push(event.meta);
        }
    return this.writer.query<Answer>({
      name: 'append',
      text: 'select * from log.append($1, $2, $3, $4, $5, $6, $7, $8)',
      values: columns,
    });
  }

  private settle(items: readonly Pending[], answers: readonly Answer[]): void {
    let next = 0;
    let newest: Position = 0;
    for (const item of items) {
      const own = answers.slice(next, next + item.commands.length);
      next += own.length;
      for (const [status, , position] of own) if (status === 'ok') newest = Math.max(newest, position);
      const [status, revision] = own[0]!;
      if (status === 'conflict') item.reject(new WrongExpectedRevision(item.stream, item.expected, revision));
      else this.results(item, own).then(item.resolve, item.reject);
    }
    if (newest > 0) for (const listener of this.listeners) listener(newest);
  }

  private results({ stream, commands }: Pending, answers: readonly Answer[]): Promise<AppendResult[]> {
    const upTo = answers.findIndex(([status]) => status === 'conflict');
    return Promise.all(
      commands.slice(0, upTo < 0 ? undefined : upTo).map(({ id, events }, i): AppendResult | Promise<AppendResult> => {
        const [status, revision, position, at] = answers[i]!;
        if (status === 'duplicate') return this.firstResult(stream, id);
        const before = events.length - 1;
        return {
          revision,
          position,
          events: events.map((event, n) =>
            fromRow([
              position - before + n,
              stream,
              revision - before + n,
              event.id,
              event.type,
              event.payload,
              event.meta,
              at,
            ]),
          ),
          duplicate: false,
        };
      }),
    );
  }

  /** What the same command appended before. */
  private async firstResult(stream: string, command: string): Promise<AppendResult> {
    const rows = await this.read<EventRow>(this.reader, {
      name: 'command',
      text: `select ${COLUMNS} from log.event where stream = $1 and revision >= (
          select revision from log.event where stream = $1 and command_id = $2)
        and revision < (select revision + size from log.event where stream = $1 and command_id = $2) order by revision`,
      values: [stream, command],
    });
    const events = rows.map(fromRow);
    const last = events.at(-1);
    return { revision: last?.revision ?? NO_STREAM, position: last?.position ?? 0, events, duplicate: true };
  }
}
