import type { Position, RecordedEvent } from '@omnivisor/contracts';
import type { EventStore } from './event-store.js';
import { LazyFollower, type LazyFollowerOptions } from './lazy-follower.js';
import { type Projection, upToUnknown } from './projection.js';
import type { RowReader, Table } from './read-model.js';

/** A row as it is from one event on, until its next version. */
export interface RowVersion {
  readonly table: Table<never>;
  readonly key: string;
  readonly position: Position;
  /** Undefined: from here on there is none. */
  readonly row: object | undefined;
}

/** Every version of every row of some tables: the read model as it was at any moment. */
export interface History {
  /** Makes the tables that are missing. */
  prepare(tables: readonly Table<never>[]): Promise<void>;
  checkpoint(): Promise<Position>;
  /**
   * Runs `work` from the checkpoint, with the newest rows, then keeps its versions and the new checkpoint together or not
   * at all. Any replica may do so; when another one was faster, `work` is run again from where that one came to.
   * @returns the checkpoint afterwards
   */
  advance(
    work: (from: Position, newest: RowReader) => Promise<{ to: Position; versions: readonly RowVersion[] }>,
  ): Promise<Position>;
  /**
   * Puts other rows into versions that are there, for what may no longer be told; the moments of change stay.
   * @returns how many were others before
   */
  rewrite(versions: readonly RowVersion[]): Promise<number>;
  /** The rows as they were when the event at `position` was the newest; at or before the checkpoint. */
  at(position: Position): RowReader;
  close(): Promise<void>;
}

/** Folds events into versions, one for each event that changes a row. */
export const versionsOf = async (
  projections: readonly Projection[],
  events: readonly RecordedEvent[],
  newest: RowReader,
): Promise<RowVersion[]> => {
  const steps = events.flatMap((event) => projections.flatMap((p) => p.keys(event).map((key) => ({ p, event, key }))));
  const keys = new Map<Table<object>, Set<string>>();
  for (const { p, key } of steps) keys.set(p.table, (keys.get(p.table) ?? new Set()).add(key));
  const rows = new Map<Table<object>, Map<string, object | undefined>>();
  for (const [table, wanted] of keys) rows.set(table, new Map(await newest.getMany(table, [...wanted])));
  const versions: RowVersion[] = [];
  for (const { p, event, key } of steps) {
    const known = rows.get(p.table)!;
    const before = known.get(key);
    const row = p.evolve(before, event, key);
    if (row === before) continue;
    known.set(key, row);
    // Two projections of one table may speak of the same event: the row after both is the version.
    let at = versions.length;
    while (versions[at - 1]?.position === event.position) {
      at--;
      if (versions[at]!.table === p.table && versions[at]!.key === key) break;
    }
    const isSame = versions[at]?.table === p.table && versions[at]?.key === key;
    const version = { table: p.table as Table<never>, key, position: event.position, row };
    versions.splice(isSame ? at : versions.length, isSame ? 1 : 0, version);
  }
  return versions;
};

export interface HistorianOptions extends Pick<LazyFollowerOptions, 'clock' | 'onError'> {
  readonly store: EventStore;
  readonly history: History;
  readonly projections: readonly Projection[];
  readonly batch?: number;
}

const BATCH = 500;

/** Keeps the history up to date with the log, behind everybody's back. */
export class Historian {
  private readonly follower: LazyFollower;

  constructor(private readonly options: HistorianOptions) {
    const { history, clock, onError } = options;
    this.follower = new LazyFollower({
      checkpoint: () => history.checkpoint(),
      step: () => this.step(),
      clock,
      onError,
    });
  }

  /** Set when it stopped for good, e.g. on an unknown event. */
  get failure(): Error | undefined {
    return this.follower.failure;
  }

  start(): void {
    this.follower.start();
  }

  stop(): Promise<void> {
    return this.follower.stop();
  }

  /** The rows as they were at `position`, once the history has come that far. */
  async at(position: Position): Promise<RowReader> {
    await this.follower.reach(position);
    return this.options.history.at(position);
  }

  private async step(): Promise<boolean> {
    const { store, history, projections } = this.options;
    const limit = this.options.batch ?? BATCH;
    let read = 0;
    await history.advance(async (from, newest) => {
      const page = await store.readAll(from, limit);
      read = page.length;
      const events = upToUnknown(page);
      const last = events.at(-1);
      return last === undefined
        ? { to: from, versions: [] }
        : { to: last.position, versions: await versionsOf(projections, events, newest) };
    });
    return read === limit;
  }
}
