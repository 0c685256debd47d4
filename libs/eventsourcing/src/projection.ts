import { type DomainEvent, definitionOf, type Position, type RecordedEvent } from '@omnivisor/contracts';
import { type EventStore, EventStoreUnavailable } from './event-store.js';
import type { ReadModel, RowChange, RowReader, Table } from './read-model.js';

/** Rows of one table as a pure fold of events. */
export interface Projection<Row extends object = object> {
  readonly table: Table<Row>;
  /** Types of the events that may concern this table; all when not given. */
  readonly types?: ReadonlySet<string>;
  /** Keys of the rows an event touches; none when it does not concern this table. */
  keys(event: RecordedEvent): readonly string[];
  /** The row after the event; undefined removes it. */
  evolve(row: Row | undefined, event: RecordedEvent, key: string): Row | undefined;
  /** Rows of other tables that follow from this row alone, e.g. when its next work falls due. */
  derive?(key: string, row: Row | undefined): readonly RowChange[];
  /** Rows that `derive` gave for `before` and does not give, nor take back, for `after`: what they are for good. */
  shed?(before: Row | undefined, after: Row | undefined): readonly RowChange[];
}

/** A table whose rows other projections derive: no event has one of its own. */
export const derived = <Row extends object>(table: Table<Row>): Projection<Row> => ({
  table,
  types: new Set(),
  keys: () => [],
  evolve: (row) => row,
});

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
    types: new Set(Object.keys(handlers)),
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

/** The events before the first unknown one. @throws UnknownEvent when that is the first */
export const upToUnknown = (events: readonly RecordedEvent[]): readonly RecordedEvent[] => {
  for (const [i, event] of events.entries())
    try {
      assertKnown(event);
    } catch (error) {
      if (i > 0) return events.slice(0, i);
      throw error;
    }
  return events;
};

const byType = new WeakMap<readonly Projection[], Map<string, readonly Projection[]>>();

/** Those of the projections that an event of a type may concern. */
const concernedBy = (projections: readonly Projection[], type: string): readonly Projection[] => {
  const known = byType.get(projections) ?? new Map<string, readonly Projection[]>();
  byType.set(projections, known);
  const concerned = known.get(type) ?? projections.filter((p) => p.types?.has(type) ?? true);
  known.set(type, concerned);
  return concerned;
};

interface Step {
  readonly event: RecordedEvent;
  readonly key: string;
}

const stepsOf = (projections: readonly Projection[], events: readonly RecordedEvent[]): Map<Projection, Step[]> => {
  const all = new Map<Projection, Step[]>();
  for (const event of events)
    for (const p of concernedBy(projections, event.type))
      for (const key of p.keys(event)) {
        const steps = all.get(p);
        if (steps) steps.push({ event, key });
        else all.set(p, [{ event, key }]);
      }
  return all;
};

/**
 * Folds events into row changes; `before` has the rows as they are. Pure but for `before`'s reading. Rows that stay the
 * same give no change; neither do derived rows that followed from the row before just as they do now.
 */
export const project = async (
  projections: readonly Projection[],
  events: readonly RecordedEvent[],
  before: Pick<RowReader, 'getMany'>,
): Promise<RowChange[]> => {
  const touched = stepsOf(projections, events);
  const keysOf = new Map<Table<object>, Set<string>>();
  for (const [p, steps] of touched) {
    const keys = keysOf.get(p.table) ?? new Set();
    for (const { key } of steps) keys.add(key);
    keysOf.set(p.table, keys);
  }
  const old = new Map(
    await Promise.all(
      [...keysOf].map(async ([table, keys]) => [table, await before.getMany(table, [...keys])] as const),
    ),
  );
  const rows = new Map([...old].map(([table, found]) => [table, new Map<string, object | undefined>(found)]));
  const changes: RowChange[] = [];
  for (const [p, steps] of touched) {
    const table = rows.get(p.table)!;
    for (const { event, key } of steps) {
      const row = table.get(key);
      const next = p.evolve(row, event, key);
      table.set(key, next);
      if (p.shed) changes.push(...p.shed(row, next));
    }
  }
  for (const [table, keys] of keysOf)
    for (const key of keys) {
      const row = rows.get(table)!.get(key);
      if (row !== old.get(table)!.get(key)) changes.push({ table: table as Table<never>, key, row });
    }
  for (const [p, steps] of touched)
    if (p.derive)
      for (const key of new Set(steps.map((step) => step.key)))
        changes.push(...news(p.derive(key, old.get(p.table)!.get(key)), p.derive(key, rows.get(p.table)!.get(key))));
  return changes;
};

/** Rows as they will be. */
const amendedRows = (rows: RowReader, amended: readonly RowChange[]): Pick<RowReader, 'getMany'> => ({
  async getMany<Row extends object>(table: Table<Row>, keys: readonly string[]): Promise<Map<string, Row>> {
    const found = new Map(await rows.getMany(table, keys));
    for (const change of amended)
      if (change.table.name === table.name && found.has(change.key)) found.set(change.key, change.row as Row);
    return found;
  },
});

const news = (before: readonly RowChange[], now: readonly RowChange[]): RowChange[] => {
  const text = ({ table, key, row }: RowChange) => JSON.stringify([table.name, key, row ?? null]);
  const known = new Set(before.map(text));
  return now.filter((change) => !known.has(text(change)));
};

/** Events that are projected at once, and while there are more than that: of a larger piece fewer rows are written. */
const BATCH = 500;
const BEHIND = 4;

export interface ProjectorOptions {
  /** 500 when not given. */
  readonly batch?: number;
  /** Called after each batch that moved the read model, in this replica. */
  readonly onAdvanced?: (events: readonly RecordedEvent[], changes: readonly RowChange[]) => void;
}

/** Keeps one app's read model up to date with the log. */
export class Projector {
  private running: Promise<Position> | undefined;
  private wanted: Position = 0;
  private ahead: { readonly from: Position; readonly page: Promise<readonly RecordedEvent[]> } | undefined;
  /** The read model is at least here; it never goes back. */
  private known: Position = 0;

  /** The read model is at least here. */
  get position(): Position {
    return this.known;
  }
  /** Set when the projector stopped for good, e.g. on an unknown event. */
  failure: Error | undefined;
  /** True once the read model has caught up with the log since the start. */
  caughtUp = false;

  constructor(
    private readonly store: Pick<EventStore, 'head' | 'readAll'>,
    private readonly readModel: ReadModel,
    private readonly projections: readonly Projection[],
    private readonly options: ProjectorOptions = {},
  ) {}

  /** @throws what stopped it for good */
  assertGoing(): undefined {
    if (this.failure) throw this.failure;
  }

  /**
   * Brings the read model at least to `to`, or to where the log is now.
   * @throws UnknownEvent; EventStoreUnavailable, also when the log ends before `to`
   */
  async catchUp(to?: Position): Promise<Position> {
    this.assertGoing();
    const target = to ?? (await this.store.head());
    if (this.known >= target) {
      this.caughtUp = true;
      return this.known;
    }
    this.wanted = Math.max(this.wanted, target);
    // Who names a position has just appended it: the read model will not be there yet.
    let at = this.running ? await this.running : to === undefined ? await this.readModel.checkpoint() : -1;
    while (at < target) {
      this.assertGoing();
      // A run that had begun before may end before `target`; one that begins now may not.
      const own = this.running === undefined;
      at = await (this.running ?? this.start());
      if (own && at < target) {
        this.wanted = 0;
        throw new EventStoreUnavailable(`the log ends at position ${at}, before ${target}`);
      }
    }
    this.known = Math.max(this.known, at);
    this.caughtUp = true;
    return at;
  }

  /**
   * Changes rows otherwise than by an event, for what may no longer be told. The checkpoint moves with them, as whoever
   * remembers rows goes by that: so `mark` appends an event when there is something to change.
   * @param amend the rows that are to be others at a position
   * @returns how many they were
   */
  async amend(
    amend: (from: Position, rows: RowReader) => Promise<readonly RowChange[]>,
    mark: (rows: number) => Promise<Position>,
  ): Promise<number> {
    let amended: readonly RowChange[] = [];
    let seen: readonly RecordedEvent[] = [];
    let changes: readonly RowChange[] = [];
    const at = await this.readModel.advance(async (from, rows) => {
      [amended, seen, changes] = [await amend(from, rows), [], []];
      if (amended.length === 0) return { to: from, changes };
      const to = await mark(amended.length);
      seen = upToUnknown(await this.store.readAll(from, this.options.batch ?? BATCH));
      if (seen.length === 0) throw new EventStoreUnavailable(`the log ends before ${to}`);
      changes = [...amended, ...(await project(this.projections, seen, amendedRows(rows, amended)))];
      return { to: seen.at(-1)!.position, changes };
    });
    this.known = Math.max(this.known, at);
    if (seen.length > 0) this.options.onAdvanced?.(seen, changes);
    return amended.length;
  }

  private start(): Promise<Position> {
    const run = this.drain()
      .catch((error) => {
        if (error instanceof UnknownEvent) this.failure = error;
        throw error;
      })
      .finally(() => {
        this.running = undefined;
        this.ahead = undefined;
      });
    this.running = run;
    return run;
  }

  /** Events after a position. While a full page is projected, the one after it is read. */
  private async page(from: Position, limit: number, next: number): Promise<readonly RecordedEvent[]> {
    const { ahead } = this;
    this.ahead = undefined;
    const early = ahead?.from === from ? await ahead.page : [];
    // The log may have grown since a page was read that is not full.
    const events = early.length === limit ? early : await this.store.readAll(from, limit);
    const last = events.at(-1);
    if (last && events.length === limit) {
      const page = this.store.readAll(last.position, next);
      // Whoever takes the page hears of it.
      page.catch(() => {});
      this.ahead = { from: last.position, page };
    }
    return events;
  }

  private async drain(): Promise<Position> {
    const batch = this.options.batch ?? BATCH;
    const behind = batch * BEHIND;
    let limit = batch;
    for (;;) {
      let seen: readonly RecordedEvent[] = [];
      let changes: readonly RowChange[] = [];
      const at = await this.readModel.advance(async (from, rows) => {
        seen = [];
        // Another replica has done it while this one waited for its turn.
        if (from >= this.wanted) return { to: from, changes: [] };
        seen = upToUnknown(await this.page(from, limit, behind));
        const last = seen.at(-1);
        if (!last) return { to: from, changes: [] };
        changes = await project(this.projections, seen, rows);
        return { to: last.position, changes };
      });
      this.known = Math.max(this.known, at);
      limit = seen.length < batch ? batch : behind;
      if (seen.length > 0) this.options.onAdvanced?.(seen, changes);
      if (at >= this.wanted || seen.length === 0) return at;
    }
  }
}
