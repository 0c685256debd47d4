import { type DomainEvent, definitionOf, type Position, type RecordedEvent } from '@omnivisor/contracts';
import type { EventStore } from './event-store.js';
import type { ReadModel, RowChange, RowReader, Table } from './read-model.js';

/** Rows of one table as a pure fold of events. */
export interface Projection<Row extends object = object> {
  readonly table: Table<Row>;
  /** Keys of the rows an event touches; none when it does not concern this table. */
  keys(event: RecordedEvent): readonly string[];
  /** The row after the event; undefined removes it. */
  evolve(row: Row | undefined, event: RecordedEvent, key: string): Row | undefined;
  /** Rows of other tables that follow from this row alone, e.g. when its next work falls due. */
  derive?(key: string, row: Row | undefined): readonly RowChange[];
}

/** An event of a set as the log has it: what `evolve` sees after narrowing by `type`. */
export type Recorded<E extends DomainEvent> = E extends DomainEvent<infer T, infer D> ? RecordedEvent<T, D> : never;

/**
 * A projection of one or more event sets.
 * @param on one entry per event type: which rows it touches, and the row after it
 */
export const projection = <E extends DomainEvent, Row extends object>(
  table: Table<Row>,
  on: {
    readonly [T in E['type']]?: {
      readonly key: (event: Recorded<Extract<E, { type: T }>>) => string | readonly string[];
      readonly row: (row: Row | undefined, event: Recorded<Extract<E, { type: T }>>, key: string) => Row | undefined;
    };
  },
): Projection<Row> => {
  const handlers = on as Record<
    string,
    | {
        key: (e: RecordedEvent) => string | readonly string[];
        row: (r: Row | undefined, e: RecordedEvent, k: string) => Row | undefined;
      }
    | undefined
  >;
  return {
    table,
    keys: (event) => {
      const key = handlers[event.type]?.key(event);
      return key === undefined ? [] : typeof key === 'string' ? [key] : key;
    },
    evolve: (row, event, key) => handlers[event.type]!.row(row, event, key),
  };
};

/** The log has an event that this release does not know: going on would lose it. */
export class UnknownEvent extends Error {
  constructor(readonly event: Pick<RecordedEvent, 'type' | 'schemaVersion' | 'position'>) {
    super(`event ${event.type} version ${event.schemaVersion} at position ${event.position} is not known`);
    this.name = 'UnknownEvent';
  }
}

export const assertKnown = (event: RecordedEvent): void => {
  const definition = definitionOf(event.type);
  if (!definition || event.schemaVersion > definition.version) throw new UnknownEvent(event);
};

/** Folds events into row changes; `before` has the rows as they are. Pure but for `before`'s reading. */
export const project = async (
  projections: readonly Projection[],
  events: readonly RecordedEvent[],
  before: RowReader,
): Promise<RowChange[]> => {
  const changes: RowChange[] = [];
  for (const p of projections) {
    const touched: (readonly [RecordedEvent, string])[] = [];
    for (const event of events) for (const key of p.keys(event)) touched.push([event, key]);
    if (touched.length === 0) continue;
    const rows: Map<string, object | undefined> = new Map(
      await before.getMany(p.table, [...new Set(touched.map(([, key]) => key))]),
    );
    for (const [event, key] of touched) rows.set(key, p.evolve(rows.get(key), event, key));
    for (const key of new Set(touched.map(([, key]) => key))) {
      const row = rows.get(key);
      changes.push({ table: p.table as Table<never>, key, row });
      if (p.derive) changes.push(...p.derive(key, row));
    }
  }
  return changes;
};

export interface ProjectorOptions {
  readonly batch?: number;
  /** Called after each batch that moved the read model, in this replica. */
  readonly onAdvanced?: (events: readonly RecordedEvent[]) => void;
}

/** Keeps one app's read model up to date with the log. */
export class Projector {
  private running: Promise<Position> | undefined;
  private again = false;
  /** Set when the projector stopped for good, e.g. on an unknown event. */
  failure: Error | undefined;
  /** True once the read model has caught up with the log since the start. */
  caughtUp = false;

  constructor(
    private readonly store: EventStore,
    private readonly readModel: ReadModel,
    private readonly projections: readonly Projection[],
    private readonly options: ProjectorOptions = {},
  ) {}

  /**
   * Brings the read model at least to `to`, or to where the log is now.
   * @throws UnknownEvent; EventStoreUnavailable
   */
  async catchUp(to?: Position): Promise<Position> {
    if (this.failure) throw this.failure;
    const target = to ?? (await this.store.head());
    let at = await this.advance();
    while (at < target) at = await this.advance();
    this.caughtUp = true;
    return at;
  }

  /** One run at a time; whoever asks during a run gets the end of the next one. */
  private advance(): Promise<Position> {
    if (this.running) {
      if (!this.again) {
        this.again = true;
        const next = this.running.then(
          () => this.start(),
          () => this.start(),
        );
        this.running = next;
      }
      return this.running;
    }
    return this.start();
  }

  private start(): Promise<Position> {
    this.again = false;
    const run = this.drain().finally(() => {
      if (this.running === run) this.running = undefined;
    });
    this.running = run;
    return run;
  }

  private async drain(): Promise<Position> {
    const limit = this.options.batch ?? 500;
    for (;;) {
      let seen: readonly RecordedEvent[] = [];
      const at = await this.readModel.advance(async (from, rows) => {
        seen = await this.store.readAll(from, limit);
        try {
          for (const event of seen) assertKnown(event);
        } catch (error) {
          this.failure = error as Error;
          throw error;
        }
        const last = seen.at(-1);
        if (!last) return { to: from, changes: [] };
        return { to: last.position, changes: await project(this.projections, seen, rows) };
      });
      if (seen.length > 0) this.options.onAdvanced?.(seen);
      if (seen.length < limit) return at;
    }
  }
}
