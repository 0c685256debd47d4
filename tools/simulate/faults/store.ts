import {
  type Instant,
  type Milliseconds,
  type NewEvent,
  type Position,
  type RecordedEvent,
  seconds,
} from '@omnivisor/contracts';
import { type EventStore, EventStoreUnavailable, type ReadModel, type RowReader } from '@omnivisor/eventsourcing';
import { MemoryEventStore, MemoryReadModel } from '@omnivisor/eventsourcing/memory';
import type { Clock, Ids } from '@omnivisor/platform/ports';
import type { Life } from './life.js';
import type { Random } from './random.js';

/** How the store fares just now: chances of one call, and its longest delay in milliseconds. */
export interface StoreWeather {
  /** Fails before it has an effect. */
  readonly before: number;
  /** Has its effect, and nobody hears of it. */
  readonly after: number;
  readonly delay: number;
}
export const FAIR: StoreWeather = { before: 0, after: 0, delay: 0 };

/** The database of the cloud: the log and the read model, as processes reach them over a wire. */
export class SimulatedDatabase {
  log: MemoryEventStore;
  rows = new MemoryReadModel();
  weather = FAIR;
  /** Raised by a restore: what was under way before it is lost. */
  private epoch = 0;
  private readonly observers: ((events: readonly RecordedEvent[]) => void)[] = [];

  constructor(
    private readonly clock: Clock,
    private readonly ids: Ids,
    private readonly random: Random,
  ) {
    this.log = new MemoryEventStore(clock, ids);
  }

  /** Calls `observer` with what is appended, before anybody else can know. */
  observe(observer: (events: readonly RecordedEvent[]) => void): void {
    this.observers.push(observer);
  }

  /** Forgets what came after a position at which a command ended, as a backup of that moment brings it back. */
  async restore(position: Position): Promise<void> {
    const kept = await this.log.readAll(0, position);
    const ids = kept.map((event) => event.id);
    let at: Instant | undefined;
    const again = new MemoryEventStore(
      { now: () => at ?? this.clock.now() },
      { ordered: () => ids.shift() ?? this.ids.ordered() },
    );
    for (const events of byCommand(kept)) {
      const [first] = events;
      at = first!.recordedAt;
      await again.append(first!.stream, first!.revision - 1, events as readonly NewEvent[]);
    }
    at = undefined;
    this.log = again;
    this.rows = new MemoryReadModel();
    this.epoch++;
  }

  /** The store as one process has it. */
  storeFor(life: Life): EventStore {
    const listeners = new Set<(position: Position) => void>();
    const call = <T>(port: string, work: () => Promise<T>) => life.call(port, () => this.troubled(life, work));
    const appended = (events: readonly RecordedEvent[], position: Position) => {
      for (const observer of this.observers) observer(events);
      if (life.alive) for (const listener of listeners) listener(position);
    };
    return {
      append: (stream, expected, events) =>
        call(`append ${stream} ${events.map((e) => e.type)}`, async () => {
          const result = await this.log.append(stream, expected, events);
          if (!result.duplicate) appended(result.events, result.position);
          return result;
        }),
      appendEach: (stream, expected, commands) =>
        call(`append ${stream} ${commands.flat().map((e) => e.type)}`, async () => {
          const results = await this.log.appendEach(stream, expected, commands);
          const fresh = results.filter((r) => !r.duplicate);
          const last = fresh.at(-1);
          if (last)
            appended(
              fresh.flatMap((r) => r.events),
              last.position,
            );
          return results;
        }),
      readStream: (stream, from) => call(`read ${stream}`, () => this.log.readStream(stream, from)),
      readAll: (after, limit) => call('read all', () => this.log.readAll(after, limit)),
      readStored: (after, limit) => call('read stored', () => this.log.readStored(after, limit)),
      head: () => call('head', () => this.log.head()),
      subscribe: (listener) => {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
      close: async () => listeners.clear(),
    };
  }

  /** The read model as one process has it. */
  readModelFor(life: Life): ReadModel {
    const call = <T>(port: string, work: () => Promise<T>) => life.call(port, () => this.troubled(life, work));
    const reader = (rows: () => RowReader): RowReader => ({
      get: (table, key) => call('row', () => rows().get(table, key)),
      getMany: (table, keys) => call('rows', () => rows().getMany(table, keys)),
      find: (table, query) => call('find', () => rows().find(table, query)),
      scan: (table, query) => call('find', () => rows().scan(table, query)),
      count: (table, where) => call('count', () => rows().count(table, where)),
    });
    return {
      ...reader(() => this.rows),
      checkpoint: () => call('checkpoint', () => this.rows.checkpoint()),
      // A transaction ends with its process.
      advance: (work) =>
        call('advance', () =>
          this.rows.advance((from, rows) =>
            life.orDeath(() =>
              work(
                from,
                reader(() => rows),
              ),
            ),
          ),
        ),
      lease: (process, now, until, limit) => call('lease', () => this.rows.lease(process, now, until, limit)),
      unlease: (process, id, notBefore) => call('unlease', () => this.rows.unlease(process, id, notBefore)),
      nextDue: (process) => call('due', () => this.rows.nextDue(process)),
      prepare: () => call('prepare', () => this.rows.prepare()),
      dump: (table) => this.rows.dump(table),
      close: async () => {},
    };
  }

  private async troubled<T>(life: Life, work: () => Promise<T>): Promise<T> {
    const { before, after, delay } = this.weather;
    const { epoch } = this;
    if (life.cut.store) {
      await this.clock.sleep(seconds(1));
      throw new EventStoreUnavailable('the store is out of reach');
    }
    if (delay > 0) await this.clock.sleep(this.random.below(delay) as Milliseconds);
    if (this.random.chance(before) || epoch !== this.epoch) throw new EventStoreUnavailable('the store failed');
    const result = await work();
    if (this.random.chance(after)) throw new EventStoreUnavailable('the store did not answer');
    return result;
  }
}

/** Events that were appended together. */
const byCommand = (events: readonly RecordedEvent[]): RecordedEvent[][] => {
  const groups: RecordedEvent[][] = [];
  for (const event of events) {
    const last = groups.at(-1)?.[0];
    if (last?.stream === event.stream && last.context.commandId === event.context.commandId) groups.at(-1)!.push(event);
    else groups.push([event]);
  }
  return groups;
};
