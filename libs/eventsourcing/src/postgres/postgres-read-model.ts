import { type Instant, type Position, unavailable } from '@omnivisor/contracts';
import pg from 'pg';
import {
  type DueWork,
  dueTable,
  latestLease,
  type Query,
  type ReadModel,
  type RowChange,
  type RowReader,
  type Table,
} from '../read-model.js';
import { decodeDocument, originalText, scalarText, storedText } from './codec.js';
import { ConnectionLost, Link, type Statement } from './link.js';
import { Parameters, type PhysicalTable, physicalTable } from './query.js';
import { documentColumns, generationOf, prepareSchema } from './read-model-schema.js';
import { RowCache } from './row-cache.js';
import { Rows, type RowTables, Statements } from './rows.js';
import { sharedAnswer } from './shared-answer.js';

export interface PostgresReadModelOptions {
  /** Login of the service's role. */
  readonly url: string;
  /** The app's schema. */
  readonly schema: string;
}

const PAGE = 500;

/** How long replicas take turns after one got in between another, in milliseconds. */
const CONTENTION = 5_000;

/** Documents by table and key as they are stored; undefined for a row that is gone. */
type Written = Map<PhysicalTable, Map<string, string | undefined>>;

type Work = (from: Position, rows: RowReader) => Promise<{ to: Position; changes: readonly RowChange[] }>;

/**
 * The read model of one app in its own PostgreSQL schema. A table holds documents, and a column for each indexed
 * field. It is derived from the log, so its commits do not wait for the disk; checkpoint and rows move together.
 */
export class PostgresReadModel implements ReadModel, RowTables {
  /** @internal */
  readonly quotedSchema: string;
  private readonly readers: readonly Link[];
  private readonly writer: Link;
  private readonly rows: Rows;
  private readonly inFlight = [0, 0];
  private readonly statements = new Statements();
  private readonly tables = new Map<string, PhysicalTable>();
  private generation: string | undefined;
  private turn: Promise<unknown> = Promise.resolve();
  /** Where this replica left the checkpoint. */
  private known: Position | undefined;
  /** Rows as of there. */
  private readonly cache = new RowCache();
  private lockUntil = 0;

  constructor(options: PostgresReadModelOptions) {
    if (!/^[a-z][a-z0-9_]{0,39}$/.test(options.schema)) throw new Error(`not a schema name: ${options.schema}`);
    this.quotedSchema = pg.escapeIdentifier(options.schema);
    const link = (name: string, settings: Record<string, string> = {}) =>
      new Link({
        url: options.url,
        name: `omnivisor ${name}`,
        pipeline: true,
        settings,
        // The database may come back as another one, e.g. from a backup.
        onLost: () => this.cache.clear(),
      });
    this.readers = [link('reader'), link('reader')];
    // A replica that stops while it holds the checkpoint must not keep it.
    this.writer = link('projector', { synchronous_commit: 'off', idle_in_transaction_session_timeout: '15000' });
    this.rows = new Rows(this, (statement) => this.read(statement), { cache: this.cache });
  }

  async prepare(tables: readonly Table<never>[]): Promise<void> {
    const all = new Map([dueTable as unknown as Table<never>, ...tables].map((t) => [t.name, t]));
    if (this.generation !== undefined) {
      for (const name of all.keys())
        if (!this.tables.has(name)) throw new Error(`all tables are prepared at once; ${name} comes late`);
      return;
    }
    const generation = generationOf([...all.values()]);
    const physical = [...all.values()].map((t) => [t.name, physicalTable(this.quotedSchema, generation, t)] as const);
    await this.foreseen(() =>
      prepareSchema(
        this.writer,
        this.quotedSchema,
        generation,
        physical.map(([, table]) => table),
      ),
    );
    for (const [name, table] of physical) this.tables.set(name, table);
    this.generation = generation;
  }

  readonly checkpoint = sharedAnswer(async (): Promise<Position> => {
    const [row] = await this.read<[number]>(this.checkpointStatement(''));
    const [position] = row!;
    if (position !== this.known) this.cache.clear();
    return position;
  });

  advance(work: Work): Promise<Position> {
    const run = this.turn.then(() => this.foreseen(() => this.advanceNow(work)));
    this.turn = run.catch(() => this.settle(undefined));
    return run;
  }

  get<Row extends object>(table: Table<Row>, key: string): Promise<Row | undefined> {
    return this.rows.get(table, key);
  }

  getMany<Row extends object>(table: Table<Row>, keys: readonly string[]): Promise<Map<string, Row>> {
    return this.rows.getMany(table, keys);
  }

  find<Row extends object>(table: Table<Row>, query?: Query<Row>): Promise<Row[]> {
    return this.rows.find(table, query);
  }

  scan<Row extends object>(table: Table<Row>, query?: Query<Row>): Promise<Iterable<Row>> {
    return this.rows.scan(table, query);
  }

  count<Row extends object>(table: Table<Row>, where?: Query<Row>['where']): Promise<number> {
    return this.rows.count(table, where);
  }

  /** Replicas that see the same work race for its lease's row; the loser finds a lease that has not run out. */
  async lease(process: string, now: Instant, until: Instant, limit: number): Promise<DueWork[]> {
    const lease = `${this.quotedSchema}.lease`;
    const rows = await this.read<[string]>(
      this.statement(
        `with due as materialized (
           select d.key, d.doc, d."f_dueAt" as at from ${this.table(dueTable).name} d
           left join ${lease} l on l.generation = $1 and l.process = $6 and l.key = d.key
           where d.f_process = $2 and d."f_dueAt" <= $3 and (l.until is null or l.until <= $3 or l.until > $7)
           order by d."f_dueAt", d.key limit $5),
         taken as (
           insert into ${lease} as l (generation, process, key, until) select $1, $6, key, $4 from due order by at, key
           on conflict (generation, process, key) do update set until = excluded.until where l.until <= $3 or l.until > $7
           returning l.key)
         select due.doc from due join taken using (key) order by due.at, due.key`,
        [
          this.generation,
          scalarText(process),
          scalarText(now),
          scalarText(until),
          limit,
          process,
          scalarText(latestLease(now, until)),
        ],
      ),
    );
    return rows.map(([doc]) => decodeDocument<DueWork>(doc));
  }

  async unlease(process: string, id: string, notBefore: Instant): Promise<void> {
    const lease = `${this.quotedSchema}.lease`;
    await this.read(
      this.statement(
        `with later as (select from ${this.table(dueTable).name} where key = $3 and "f_dueAt" < $4),
         gone as (delete from ${lease} where generation = $1 and process = $2 and key = $3 and not exists (select from later))
         insert into ${lease} (generation, process, key, until) select $1, $2, $3, $4 where exists (select from later)
         on conflict (generation, process, key) do update set until = excluded.until`,
        [this.generation, process, storedText(`${process}/${id}`), scalarText(notBefore)],
      ),
    );
  }

  async nextDue(process: string): Promise<Instant | null> {
    const due = this.table(dueTable).name;
    const lease = `${this.quotedSchema}.lease`;
    const [row] = await this.read<[string | null]>(
      this.statement(
        `select least(
           (select d."f_dueAt" from ${due} d where d.f_process = $2 and not exists (
              select from ${lease} l where l.generation = $1 and l.process = $3 and l.key = d.key and l.until > d."f_dueAt")
            order by d."f_dueAt" limit 1),
           (select min(l.until) from ${lease} l join ${due} d on d.key = l.key
            where l.generation = $1 and l.process = $3 and l.until > d."f_dueAt"))`,
        [this.generation, scalarText(process), process],
      ),
    );
    return (row?.[0]?.slice(1) ?? null) as Instant | null;
  }

  async *dump<Row extends object>(table: Table<Row>): AsyncIterable<{ key: string; row: Row }> {
    const { name } = this.table(table);
    for (let after: string | undefined; ; ) {
      const rows: [string, string][] = await this.read(
        this.statement(
          `select key, doc from ${name}${after === undefined ? '' : ' where key > $1'} order by key limit ${PAGE}`,
          after === undefined ? [] : [after],
        ),
      );
      for (const [key, doc] of rows) yield { key: originalText(key), row: decodeDocument<Row>(doc) };
      if (rows.length < PAGE) return;
      after = rows.at(-1)![0];
    }
  }

  async close(): Promise<void> {
    await this.turn;
    await Promise.all([this.writer, ...this.readers].map((link) => link.close()));
  }

  /** @internal */
  table(table: { readonly name: string }): PhysicalTable {
    const physical = this.tables.get(table.name);
    if (!physical) throw new Error(`table ${table.name} was not prepared`);
    return physical;
  }

  /** @internal */
  statement(text: string, values: readonly unknown[]): Statement {
    return this.statements.named(text, values);
  }

  private checkpointStatement(lock: string): Statement {
    if (this.generation === undefined) throw new Error('the read model was not prepared');
    return this.statement(`select position from ${this.quotedSchema}.checkpoint where generation = $1${lock}`, [
      this.generation,
    ]);
  }

  /**
   * Alone, a replica need not lock: it knows where the checkpoint is, and its write says so and has no effect when that
   * was wrong. Once another replica got in between, they take turns for a while, so that neither works in vain.
   */
  private async advanceNow(work: Work): Promise<Position> {
    if (this.known !== undefined && Date.now() >= this.lockUntil) {
      const to = await this.advanceAlone(work, this.known);
      if (to !== undefined) return to;
      this.lockUntil = Date.now() + CONTENTION;
    }
    return this.advanceInTurn(work);
  }

  /** The checkpoint is where this replica left it; undefined when that is not known. */
  private settle(at: Position | undefined, written?: Written): void {
    if (written) this.cache.wrote(written);
    else if (at === undefined || at !== this.known) this.cache.clear();
    this.known = at;
  }

  private rowsBy(connection: Pick<Link, 'query'>): Rows {
    return new Rows(this, (statement) => connection.query(statement), { cache: this.cache });
  }

  /** @returns undefined when the checkpoint is not where this replica left it, and nothing was written */
  private async advanceAlone(work: Work, from: Position): Promise<Position | undefined> {
    const connection = this.writer.pin();
    const { to, changes } = await work(from, this.rowsBy(connection));
    const write = to === from && changes.length === 0 ? undefined : this.write(to, changes, from);
    const [row] = await connection.query<[number]>(write?.statement ?? this.checkpointStatement(''));
    if (row?.[0] !== to) return undefined;
    this.settle(to, write?.written);
    return to;
  }

  private async advanceInTurn(work: Work): Promise<Position> {
    const lock = this.checkpointStatement(' for update');
    const transaction = this.writer.pin();
    // One trip for both, here and at the end: the connection is a pipeline.
    const begun = transaction.query({ text: 'begin' });
    const [, [row]] = await Promise.all([begun, transaction.query<[number]>(lock)]);
    const from = row![0];
    this.settle(from);
    let write: ReturnType<typeof this.write> | undefined;
    try {
      const { to, changes } = await work(from, this.rowsBy(transaction));
      if (to === from && changes.length === 0) return from;
      write = this.write(to, changes, from);
      const written = transaction.query(write.statement);
      // After a write that failed, a commit is a rollback.
      const committed = transaction.query({ text: 'commit' });
      await Promise.all([written, committed]);
      this.settle(to, write.written);
      return to;
    } finally {
      if (!write) await transaction.query({ text: 'rollback' }).catch(() => {});
    }
  }

  /** All changes and the checkpoint in one statement. The last change of a row is the one that counts. */
  private write(
    to: Position,
    changes: readonly RowChange[],
    from: Position,
  ): { statement: Statement; written: Written } {
    const byTable = new Map<PhysicalTable, Map<string, object | undefined>>();
    for (const { table, key, row } of changes) {
      const physical = this.table(table);
      let rows = byTable.get(physical);
      if (!rows) {
        rows = new Map();
        byTable.set(physical, rows);
      }
      rows.set(storedText(key), row);
    }
    const parameters = new Parameters();
    const written: Written = new Map();
    const steps = [
      `update ${this.quotedSchema}.checkpoint set position = ${parameters.add(to, 'bigint')}, used_at = now()
       where generation = ${parameters.add(this.generation)} and position = ${parameters.add(from, 'bigint')} returning position`,
    ];
    for (const [table, rows] of byTable) {
      const removed = [...rows].filter(([, row]) => row === undefined).map(([key]) => key);
      const kept = [...rows].filter((entry): entry is [string, object] => entry[1] !== undefined);
      if (removed.length > 0)
        steps.push(
          `delete from ${table.name} where key = any(${parameters.add(removed)}[]) and exists (select from c0)`,
        );
      const { columns, values } = documentColumns(table, kept);
      if (kept.length > 0) steps.push(this.upsert(table, columns, values, parameters));
      const documents = new Map<string, string | undefined>(removed.map((key) => [key, undefined]));
      for (const [i, [key]] of kept.entries()) documents.set(key, values[1]![i]!);
      written.set(table, documents);
    }
    const statement = this.statement(
      `with ${steps.map((step, i) => `c${i} as (${step})`).join(', ')} select position from c0`,
      parameters.values,
    );
    return { statement, written };
  }

  private upsert(
    table: PhysicalTable,
    columns: readonly string[],
    values: readonly (readonly (string | null)[])[],
    parameters: Parameters,
  ): string {
    const sources = values.map((list) => `${parameters.add(list)}[]`);
    const named = columns.map((c) => `, ${c}`).join('');
    return `insert into ${table.name} (key, doc${named})
      select k, d::json${named} from unnest(${sources.join(', ')}) as u(k, d${named}) where exists (select from c0)
      on conflict (key) do update set doc = excluded.doc${columns.map((c) => `, ${c} = excluded.${c}`).join('')}`;
  }

  /** One query by itself, on the connection that has the least to do; again when an idle connection was lost. */
  private async read<Row extends readonly unknown[]>(statement: Statement): Promise<Row[]> {
    const chosen = this.inFlight[0]! <= this.inFlight[1]! ? 0 : 1;
    this.inFlight[chosen]!++;
    try {
      const link = this.readers[chosen]!;
      return await this.foreseen(() => link.repeatable<Row>(statement));
    } finally {
      this.inFlight[chosen]!--;
    }
  }

  private async foreseen<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof ConnectionLost) throw unavailable('the read model cannot be reached', error);
      throw error;
    }
  }
}
