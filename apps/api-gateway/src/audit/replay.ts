import type { Position } from '@omnivisor/contracts';
import { type EventStore, type Projection, Projector, type ReadModel } from '@omnivisor/eventsourcing';
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

const canonical = (value: unknown): string =>
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

const compare = async (
  live: ReadModel,
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
