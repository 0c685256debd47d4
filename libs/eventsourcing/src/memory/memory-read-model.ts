import { type Instant, invalid, type Position } from '@omnivisor/contracts';
import {
  type Condition,
  type DueWork,
  dueTable,
  latestLease,
  type Query,
  type ReadModel,
  type RowChange,
  type RowReader,
  type Scalar,
  type Table,
} from '../read-model.js';

const rank = (v: unknown): number => {
  if (v === null || v === undefined) return 0;
  if (typeof v === 'string') return 1;
  if (typeof v === 'number') return 2;
  return typeof v === 'boolean' ? 3 : 4;
};

/** Null first, then by value; texts by code point; lists and objects last, one like the other. */
export const compareScalars = (a: unknown, b: unknown): number => {
  if (rank(a) !== rank(b)) return rank(a) - rank(b);
  if (rank(a) === 0 || rank(a) === 4) return 0;
  if (typeof a === 'string') return Buffer.compare(Buffer.from(a), Buffer.from(b as string));
  return (a as number) < (b as number) ? -1 : (a as number) > (b as number) ? 1 : 0;
};

const holds = (value: unknown, condition: Condition): boolean => {
  const field = value === undefined ? null : value;
  if (condition === null || typeof condition !== 'object') return field === condition;
  if ('in' in condition) return condition.in.includes(field as Scalar);
  if ('ne' in condition) return field !== condition.ne;
  if ('contains' in condition) return Array.isArray(field) && field.includes(condition.contains);
  if ('includes' in condition) return typeof field === 'string' && field.includes(condition.includes);
  if (field === null) return false;
  return (
    (condition.gt === undefined || compareScalars(field, condition.gt) > 0) &&
    (condition.gte === undefined || compareScalars(field, condition.gte) >= 0) &&
    (condition.lt === undefined || compareScalars(field, condition.lt) < 0) &&
    (condition.lte === undefined || compareScalars(field, condition.lte) <= 0)
  );
};

const copy = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;

/** The read model in memory, for specs and simulation. */
export class MemoryReadModel implements ReadModel {
  private readonly tables = new Map<string, Map<string, object>>();
  private readonly leases = new Map<string, Instant>();
  private position: Position = 0;
  private turn: Promise<unknown> = Promise.resolve();

  async checkpoint(): Promise<Position> {
    return this.position;
  }

  advance(
    work: (from: Position, rows: RowReader) => Promise<{ to: Position; changes: readonly RowChange[] }>,
  ): Promise<Position> {
    const run = this.turn.then(async () => {
      const { to, changes } = await work(this.position, this);
      for (const { table, key, row } of changes) {
        if (row === undefined) this.rows(table).delete(key);
        else this.rows(table).set(key, copy(row));
      }
      this.position = to;
      return to;
    });
    this.turn = run.catch(() => {});
    return run;
  }

  async get<Row extends object>(table: Table<Row>, key: string): Promise<Row | undefined> {
    const row = this.rows(table).get(key);
    return row && (copy(row) as Row);
  }

  async getMany<Row extends object>(table: Table<Row>, keys: readonly string[]): Promise<Map<string, Row>> {
    const found = new Map<string, Row>();
    for (const key of keys) {
      const row = this.rows(table).get(key);
      if (row) found.set(key, copy(row) as Row);
    }
    return found;
  }

  async find<Row extends object>(table: Table<Row>, query: Query<Row> = {}): Promise<Row[]> {
    let rows = this.matching(table, query.where);
    const compare = (a: [string, Row], b: [string, Row]): number => {
      for (const [field, direction] of query.orderBy ?? []) {
        const order = compareScalars(a[1][field], b[1][field]);
        if (order !== 0) return direction === 'asc' ? order : -order;
      }
      return compareScalars(a[0], b[0]);
    };
    rows.sort(compare);
    if (query.after !== undefined) {
      const row = this.rows(table).get(query.after);
      if (!row) throw invalid(`marker [${query.after}] not found`);
      const marker: [string, Row] = [query.after, row as Row];
      rows = rows.filter((r) => compare(r, marker) > 0);
    }
    return rows.slice(0, query.limit ?? rows.length).map(([, row]) => copy(row));
  }

  scan<Row extends object>(table: Table<Row>, query?: Query<Row>): Promise<Iterable<Row>> {
    return this.find(table, query);
  }

  async count<Row extends object>(table: Table<Row>, where?: Query<Row>['where']): Promise<number> {
    return this.matching(table, where).length;
  }

  async lease(process: string, now: Instant, until: Instant, limit: number): Promise<DueWork[]> {
    const due = (await this.find(dueTable, { where: { process, dueAt: { lte: now } }, orderBy: [['dueAt', 'asc']] }))
      .filter((w) => {
        const leased = this.leases.get(`${process}/${w.id}`) ?? '';
        return leased <= now || leased > latestLease(now, until);
      })
      .slice(0, limit);
    for (const w of due) this.leases.set(`${process}/${w.id}`, until);
    return due;
  }

  async unlease(process: string, id: string, notBefore: Instant): Promise<void> {
    this.leases.set(`${process}/${id}`, notBefore);
  }

  async nextDue(process: string): Promise<Instant | null> {
    let next: Instant | null = null;
    for (const work of await this.find(dueTable, { where: { process } })) {
      const lease = this.leases.get(`${process}/${work.id}`);
      const at = lease !== undefined && lease > work.dueAt ? lease : work.dueAt;
      if (next === null || at < next) next = at;
    }
    return next;
  }

  async prepare(): Promise<void> {}

  async *dump<Row extends object>(table: Table<Row>): AsyncIterable<{ key: string; row: Row }> {
    for (const key of [...this.rows(table).keys()].sort(compareScalars))
      yield { key, row: copy(this.rows(table).get(key)) as Row };
  }

  async close(): Promise<void> {}

  private rows(table: { readonly name: string }): Map<string, object> {
    let rows = this.tables.get(table.name);
    if (!rows) {
      rows = new Map();
      this.tables.set(table.name, rows);
    }
    return rows;
  }

  private matching<Row extends object>(table: Table<Row>, where: Query<Row>['where'] = {}): [string, Row][] {
    const conditions = Object.entries(where) as [keyof Row & string, Condition][];
    return ([...this.rows(table)] as [string, Row][]).filter(([, row]) =>
      conditions.every(([field, condition]) => condition === undefined || holds(row[field], condition)),
    );
  }
}
