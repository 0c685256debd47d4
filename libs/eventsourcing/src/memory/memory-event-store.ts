import type { EventId, Instant, NewEvent, Position, RecordedEvent, Revision } from '@omnivisor/contracts';
import { checkStream, commandOf, recordedOf, storedOf, textsOf } from '../canonical.js';
import { type AppendResult, type EventStore, type StoredEvent, WrongExpectedRevision } from '../event-store.js';

/** The log in memory, for specs and simulation. Keeps the texts, so that what is read has been through them. */
export class MemoryEventStore implements EventStore {
  private readonly log: RecordedEvent[] = [];
  private readonly streams = new Map<string, RecordedEvent[]>();
  private readonly listeners = new Set<(position: Position) => void>();

  constructor(
    private readonly clock: { now(): Instant },
    private readonly ids: { ordered(): string },
  ) {}

  async append(stream: string, expected: Revision, events: readonly NewEvent[]): Promise<AppendResult> {
    return this.appendNow(stream, expected, events);
  }

  async appendEach(
    stream: string,
    expected: Revision,
    commands: readonly (readonly NewEvent[])[],
  ): Promise<readonly AppendResult[]> {
    for (const events of commands) events.map(textsOf);
    const results: AppendResult[] = [];
    for (const events of commands) {
      const result = this.appendNow(stream, results.at(-1)?.revision ?? expected, events);
      results.push(result);
      if (result.duplicate) break;
    }
    return results;
  }

  private appendNow(stream: string, expected: Revision, events: readonly NewEvent[]): AppendResult {
    checkStream(stream);
    const command = commandOf(events);
    const texts = events.map(textsOf);
    const past = this.streams.get(stream) ?? [];
    const before = past.filter((e) => e.context.commandId === command);
    if (before.length > 0) {
      const last = before.at(-1)!;
      return { revision: last.revision, position: last.position, events: before, duplicate: true };
    }
    const actual = past.length - 1;
    if (actual !== expected) throw new WrongExpectedRevision(stream, expected, actual);
    const latest = this.log.at(-1)?.recordedAt;
    const now = this.clock.now();
    const recordedAt = latest !== undefined && latest > now ? latest : now;
    const recorded = events.map((event, i) =>
      recordedOf({
        id: this.ids.ordered() as EventId,
        type: event.type,
        stream,
        revision: actual + 1 + i,
        position: this.log.length + 1 + i,
        recordedAt,
        ...texts[i]!,
      }),
    );
    this.log.push(...recorded);
    this.streams.set(stream, [...past, ...recorded]);
    const last = recorded.at(-1)!;
    for (const listener of this.listeners) listener(last.position);
    return { revision: last.revision, position: last.position, events: recorded, duplicate: false };
  }

  async readStream(stream: string, from: Revision = 0): Promise<RecordedEvent[]> {
    checkStream(stream);
    return (this.streams.get(stream) ?? []).slice(Math.max(0, from));
  }

  async readAll(after: Position, limit: number): Promise<RecordedEvent[]> {
    return this.log.slice(after, after + limit);
  }

  async readStored(after: Position, limit: number): Promise<StoredEvent[]> {
    return (await this.readAll(after, limit)).map(storedOf);
  }

  async head(): Promise<Position> {
    return this.log.length;
  }

  subscribe(listener: (position: Position) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  async close(): Promise<void> {
    this.listeners.clear();
  }
}
