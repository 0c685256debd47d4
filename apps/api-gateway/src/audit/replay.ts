import type { Position } from '@omnivisor/contracts';
import {
  type EventStore,
  type Projection,
  Projector,
  type ReadModel,
  type RowReader,
  type Table,
} from '@omnivisor/eventsourcing';
import { MemoryReadModel } from '@omnivisor/eventsourcing/memory';

export interface ReplayDifference {
  readonly table: string;
  readonly key: string;
  readonly problem: 'only in the read model' | 'only in the replay' | 'different';
}

export interface ReplayReport {
  readonly position: Position;
  readonly tables: readonly { readonly table: string; readonly rows: number }[];
  /** At most 100. */
  readonly differences: readonly ReplayDifference[];
  readonly equal: boolean;
}

export const canonical = (value: unknown): string =>
  JSON.stringify(value, (_, v) =>
    v && typeof v === 'object' && !Array.isArray(v)
      ? Object.fromEntries(Object.entries(v).sort(([a], [b]) => (a < b ? -1 : 1)))
      : v,
  );

/**
 * Folds the log from zero and compares every row with the live read model. Rows that change meanwhile are compared
 * again at a later position, until both stand at the same one.
 */
export const replay = async (
  store: EventStore,
  live: ReadModel,
  projections: readonly Projection[],
): Promise<ReplayReport> => {
  const again = new MemoryReadModel();
  const projector = new Projector(store, again, projections, { batch: 2_000 });
  for (let tries = 0; ; tries++) {
    const before = await live.checkpoint();
    await projector.catchUp(before);
    const report = await compare(live, again, projections, before);
    const after = await live.checkpoint();
    // A busy log: what differs may only be newer on one side.
    if (report.equal || (before === after && (await again.checkpoint()) === before) || tries >= 50) return report;
  }
};

/** All rows of a table. */
interface Dumped {
  dump(table: Table<object>): AsyncIterable<{ key: string; row: object }>;
}

const compare = async (
  live: Dumped,
  again: ReadModel,
  projections: readonly Projection[],
  position: Position,
): Promise<ReplayReport> => {
  const differences: ReplayDifference[] = [];
  const tables: { table: string; rows: number }[] = [];
  const note = (table: string, key: string, problem: ReplayDifference['problem']) => {
    if (differences.length < 100) differences.push({ table, key, problem });
  };
  for (const { table } of projections) {
    const replayed = new Map<string, string>();
    for await (const { key, row } of again.dump(table)) replayed.set(key, canonical(row));
    let rows = 0;
    for await (const { key, row } of live.dump(table)) {
      rows++;
      const other = replayed.get(key);
      if (other === undefined) note(table.name, key, 'only in the read model');
      else if (other !== canonical(row)) note(table.name, key, 'different');
      replayed.delete(key);
    }
    for (const key of replayed.keys()) note(table.name, key, 'only in the replay');
    tables.push({ table: table.name, rows });
  }
  return { position, tables, differences, equal: differences.length === 0 };
};

/** Folds the log up to a moment and compares every row with the history's row of that moment. */
export const replayAt = async (
  store: EventStore,
  then: RowReader,
  projections: readonly Projection[],
  position: Position,
): Promise<ReplayReport> => {
  const again = new MemoryReadModel();
  const log = {
    head: async () => position,
    readAll: async (after: Position, limit: number) =>
      (await store.readAll(after, limit)).filter((event) => event.position <= position),
  };
  await new Projector(log, again, projections, { batch: 2_000 }).catchUp(position);
  return compare(await dumpOf(then, again, projections), again, projections, position);
};

/** A reader of rows has no keys of its own: those of the replay, and how many rows there are besides. */
const dumpOf = async (then: RowReader, again: MemoryReadModel, projections: readonly Projection[]) => {
  const rows = new Map<string, { key: string; row: object }[]>();
  for (const { table } of projections) {
    const keys: string[] = [];
    for await (const { key } of again.dump(table)) keys.push(key);
    const found = [...(await then.getMany(table, keys))].map(([key, row]) => ({ key, row }));
    const beyond = (await then.find(table)).length - found.length;
    for (let n = 0; n < beyond; n++) found.push({ key: `(unknown ${n})`, row: {} });
    rows.set(table.name, found);
  }
  return {
    async *dump(table: Table<object>) {
      yield* rows.get(table.name) ?? [];
    },
  };
};
