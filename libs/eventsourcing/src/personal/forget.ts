import type { Position, RecordedEvent } from '@omnivisor/contracts';
import { canonicalText } from '../canonical.js';
import type { EventStore } from '../event-store.js';
import { type History, type RowVersion, versionsOf } from '../history.js';
import { MemoryReadModel } from '../memory/memory-read-model.js';
import type { Projection } from '../projection.js';
import type { RowChange, RowReader, Table } from '../read-model.js';
import { boxOf } from './box.js';

const PAGE = 500;

/** Rows by table and key. */
class Keys {
  private readonly byTable = new Map<string, Set<string>>();

  add(table: Table<object>, key: string): void {
    const keys = this.byTable.get(table.name) ?? new Set();
    this.byTable.set(table.name, keys);
    keys.add(key);
  }

  has(table: Table<object>, key: string): boolean {
    return this.byTable.get(table.name)?.has(key) ?? false;
  }

  of(table: Table<object>): string[] {
    return [...(this.byTable.get(table.name) ?? [])];
  }
}

export interface ForgetOptions {
  /** The log as it reads now: without what was erased. */
  readonly store: Pick<EventStore, 'readAll'>;
  /** The log as it stands, boxes and all. */
  readonly log: Pick<EventStore, 'readAll'>;
  readonly projections: readonly Projection[];
  /** References of the keys that were destroyed. */
  readonly refs: readonly string[];
}

async function* pages(
  store: Pick<EventStore, 'readAll'>,
  after: Position,
  until: Position,
): AsyncIterable<readonly RecordedEvent[]> {
  for (let from = after; from < until; ) {
    const page = (await store.readAll(from, PAGE)).filter((event) => event.position <= until);
    if (page.length === 0) return;
    yield page;
    from = page.at(-1)!.position;
  }
}

/**
 * One pass that takes what was erased out of rows that had been folded before: those that an event with a destroyed key touches are
 * folded anew from the log, as it reads now. Works behind everybody's back, page by page. What was being folded meanwhile
 * from rows as they had been, a second pass finds.
 */
export class Forgetting {
  private readonly again = new MemoryReadModel();
  private readonly keys = new Keys();
  private folded: Position = 0;

  constructor(private readonly options: ForgetOptions) {}

  /** Folds the rows up to a position. @param write gets each page's versions of them */
  async fold(
    until: Position,
    write: (versions: readonly RowVersion[]) => Promise<void> = async () => {},
  ): Promise<void> {
    const { store, projections } = this.options;
    if (until <= this.folded) return;
    if (this.folded === 0) await this.findKeys(until);
    const only = projections.map((p) => ({
      table: p.table,
      ...(p.types ? { types: p.types } : {}),
      keys: (event: RecordedEvent) => p.keys(event).filter((key) => this.keys.has(p.table, key)),
      evolve: p.evolve.bind(p),
    }));
    for await (const page of pages(store, this.folded, until)) {
      const versions = await versionsOf(only, page, this.again);
      await this.again.advance(async () => ({ to: page.at(-1)!.position, changes: versions }));
      if (versions.length > 0) await write(versions);
    }
    this.folded = until;
  }

  private async findKeys(until: Position): Promise<void> {
    const { log, projections, refs } = this.options;
    const erased = new Set(refs);
    for await (const page of pages(log, 0, until))
      for (const event of page)
        if (erased.has(boxOf(event.data)?.key ?? ''))
          for (const p of projections) for (const key of p.keys(event)) this.keys.add(p.table, key);
  }

  /** Rewrites the versions of a history, up to its checkpoint. @returns how many were others */
  async history(history: History): Promise<number> {
    let rewritten = 0;
    for (let until = await history.checkpoint(); this.folded < until; until = await history.checkpoint())
      await this.fold(until, async (versions) => {
        rewritten += await history.rewrite(versions);
      });
    return rewritten;
  }

  /** The rows of a read model that are to be others, as they stand at a position. */
  async rows(until: Position, live: RowReader): Promise<RowChange[]> {
    await this.fold(until);
    return this.differences(live);
  }

  private async differences(rows: RowReader): Promise<RowChange[]> {
    const changes: RowChange[] = [];
    for (const { table } of this.options.projections) {
      const keys = this.keys.of(table);
      const live = await rows.getMany(table, keys);
      for (const key of keys) {
        const row = await this.again.get(table, key);
        const stands = live.get(key);
        if (row && stands && canonicalText(row) !== canonicalText(stands))
          changes.push({ table: table as Table<never>, key, row });
      }
    }
    return changes;
  }
}
