import type { Position } from '@omnivisor/contracts';
import type { Projection, RowReader, Table } from '@omnivisor/eventsourcing';
import type { GatewayCore } from '../../core/gateway-core.js';
import { canonical } from '../replay.js';

export interface RowDifference {
  readonly table: string;
  readonly key: string;
  readonly change: 'added' | 'removed' | 'changed';
  /** Fields that differ: what they were, and what they are. Undefined where there is no row. */
  readonly fields: Readonly<Record<string, readonly [before: unknown, after: unknown]>>;
}

export interface Difference {
  readonly from: Position;
  readonly to: Position;
  readonly rows: readonly RowDifference[];
  /** True when there are more rows than are told. */
  readonly more: boolean;
}

const BATCH = 1_000;
/** Characters of one answer: it has to pass the bus. */
const PAGE = 300_000;

const fieldsOf = (before: object | undefined, after: object | undefined): RowDifference['fields'] => {
  const [old, now] = [before ?? {}, after ?? {}] as Record<string, unknown>[];
  const names = [...new Set([...Object.keys(old!), ...Object.keys(now!)])].sort();
  return Object.fromEntries(
    names
      .filter((name) => canonical(old![name] ?? null) !== canonical(now![name] ?? null))
      .map((name) => [name, [old![name], now![name]]]),
  );
};

/** The rows at one moment and at another: only those are looked at that an event between them speaks of. */
export const difference = async (
  core: GatewayCore,
  projections: readonly Projection[],
  from: Position,
  to: Position,
  limit: number,
): Promise<Difference> => {
  const touched = await touchedBetween(core, projections, from, to);
  const [before, after] = [await rowsAt(core, from), await rowsAt(core, to)];
  const rows: RowDifference[] = [];
  let length = 0;
  for (const [table, keys] of touched) {
    const wanted = [...keys].sort();
    for (let i = 0; i < wanted.length; i += BATCH) {
      const part = wanted.slice(i, i + BATCH);
      const [old, now] = [await before.getMany(table, part), await after.getMany(table, part)];
      for (const key of part) {
        const fields = fieldsOf(old.get(key), now.get(key));
        if (Object.keys(fields).length === 0) continue;
        length += JSON.stringify(fields).length;
        if (rows.length >= limit || (rows.length > 0 && length > PAGE)) return { from, to, rows, more: true };
        const change = !old.has(key) ? 'added' : !now.has(key) ? 'removed' : 'changed';
        rows.push({ table: table.name, key, change, fields });
      }
    }
  }
  return { from, to, rows, more: false };
};

export const rowsAt = (core: GatewayCore, position: Position): Promise<RowReader> =>
  core.lookingBack(String(position), () => core.fresh());

const touchedBetween = async (core: GatewayCore, projections: readonly Projection[], from: Position, to: Position) => {
  const touched = new Map<Table<object>, Set<string>>();
  for (let at = from; at < to; ) {
    const events = (await core.store.readAll(at, BATCH)).filter((event) => event.position <= to);
    for (const event of events)
      for (const p of projections)
        for (const key of p.keys(event)) touched.set(p.table, (touched.get(p.table) ?? new Set()).add(key));
    if (events.length === 0) break;
    at = events.at(-1)!.position;
  }
  return touched;
};
