import { type Position, unavailable } from '@omnivisor/contracts';
import pg from 'pg';
import type { History, RowVersion } from '../history.js';
import type { RowReader, Table } from '../read-model.js';
import { storedText } from './codec.js';
import { ConnectionLost, Link, type Statement } from './link.js';
import { columnOf, Parameters, type PhysicalTable, physicalTable } from './query.js';
import { documentColumns, generationOf, prepareSchema } from './read-model-schema.js';
import { Rows, type RowTables, Statements } from './rows.js';

export interface PostgresHistoryOptions {
  /** Login of the service's role. */
  readonly url: string;
  /** The app's schema. */
  readonly schema: string;
}

/** Up to which position the newest version holds. */
const FOREVER = Number.MAX_SAFE_INTEGER;

type Work = (from: Position, newest: RowReader) => Promise<{ to: Position; versions: readonly RowVersion[] }>;

/** A version holds from the event at `position` until the next one's. A row that is gone is a version without document. */
const versionSteps = (table: PhysicalTable): string[] => [
  `create table if not exists ${table.name} (key text collate "C", position bigint, until bigint not null, doc json${table.fields
    .map((field) => `, ${columnOf(field)} text collate "C"`)
    .join('')}, primary key (key, position)) with (fillfactor = 80)`,
  ...table.indexes.map(
    (fields, i) =>
      `create index if not exists "${table.plainName}_${i}" on ${table.name} (${fields
        .map((field) => `${columnOf(field)} nulls first`)
        .join(', ')}, key, position)`,
  ),
];

/** Versions of rows in the app's schema, beside its read model; derived from the log like that. */
export class PostgresHistory implements History, RowTables {
  /** @internal */
  readonly quotedSchema: string;
  private readonly reader: Link;
  private readonly writer: Link;
  private readonly statements = new Statements();
  private readonly tables = new Map<string, PhysicalTable>();
  private generation: string | undefined;
  private turn: Promise<unknown> = Promise.resolve();

  constructor({ url, schema }: PostgresHistoryOptions) {
    this.quotedSchema = pg.escapeIdentifier(schema);
    this.reader = new Link({ url, name: 'omnivisor history reader', pipeline: true });
    const settings = { synchronous_commit: 'off', idle_in_transaction_session_timeout: '15000' };
    this.writer = new Link({ url, name: 'omnivisor historian', settings });
  }

  async prepare(tables: readonly Table<never>[]): Promise<void> {
    const generation = `past_${generationOf(tables)}`;
    const physical = tables.map((t) => [t.name, physicalTable(this.quotedSchema, generation, t)] as const);
    const all = physical.map(([, table]) => table);
    await this.foreseen(() => prepareSchema(this.writer, this.quotedSchema, generation, all, versionSteps));
    for (const [name, table] of physical) this.tables.set(name, table);
    this.generation = generation;
  }

  async checkpoint(): Promise<Position> {
    const [row] = await this.read<[number]>(this.checkpointStatement(''));
    return row![0];
  }

  advance(work: Work): Promise<Position> {
    const run = this.turn.then(() => this.foreseen(() => this.advanceInTurn(work)));
    this.turn = run.catch(() => {});
    return run;
  }

  rewrite(versions: readonly RowVersion[]): Promise<number> {
    const run = this.turn.then(() => this.foreseen(() => this.rewriteInTurn(versions)));
    this.turn = run.catch(() => {});
    return run;
  }

  at(position: Position): RowReader {
    return new Rows(this, (statement) => this.read(statement), { moment: position });
  }

  async close(): Promise<void> {
    await this.turn;
    await Promise.all([this.writer.close(), this.reader.close()]);
  }

  /** @internal */
  table(table: { readonly name: string }): PhysicalTable {
    const physical = this.tables.get(table.name);
    if (!physical) throw new Error(`the past of table ${table.name} is not kept`);
    return physical;
  }

  /** @internal */
  statement(text: string, values: readonly unknown[]): Statement {
    return this.statements.named(text, values);
  }

  private async advanceInTurn(work: Work): Promise<Position> {
    const transaction = this.writer.pin();
    await transaction.query({ text: 'begin' });
    try {
      const [row] = await transaction.query<[number]>(this.checkpointStatement(' for update'));
      const from = row![0];
      const newest = new Rows(this, (statement) => transaction.query(statement), {
        moment: FOREVER - 1,
      });
      const { to, versions } = await work(from, newest);
      for (const statement of this.writes(to, versions)) await transaction.query(statement);
      await transaction.query({ text: 'commit' });
      return to;
    } catch (error) {
      await transaction.query({ text: 'rollback' }).catch(() => {});
      throw error;
    }
  }

  private async rewriteInTurn(versions: readonly RowVersion[]): Promise<number> {
    let rewritten = 0;
    for (const [table, list] of this.byTable(versions.filter(({ row }) => row !== undefined))) {
      const [row] = await this.writer.query<[number]>(this.replace(table, list));
      rewritten += row![0];
    }
    return rewritten;
  }

  private byTable(versions: readonly RowVersion[]): Map<PhysicalTable, RowVersion[]> {
    const byTable = new Map<PhysicalTable, RowVersion[]>();
    for (const version of versions) {
      const table = this.table(version.table);
      const list = byTable.get(table) ?? [];
      list.push(version);
      byTable.set(table, list);
    }
    return byTable;
  }

  private *writes(to: Position, versions: readonly RowVersion[]): Iterable<Statement> {
    for (const [table, list] of this.byTable(versions)) {
      const next = new Map<string, Position>();
      const ends = list.map(() => FOREVER);
      for (let i = list.length - 1; i >= 0; i--) {
        const { key, position } = list[i]!;
        ends[i] = next.get(key) ?? FOREVER;
        next.set(key, position);
      }
      yield this.end(table, next);
      yield this.insert(table, list, ends);
    }
    const parameters = new Parameters();
    const text = `update ${this.quotedSchema}.checkpoint set position = ${parameters.add(to, 'bigint')}, used_at = now()
      where generation = ${parameters.add(this.generation)}`;
    yield this.statement(text, parameters.values);
  }

  /** What was the newest version of each key holds until its next one. */
  private end(table: PhysicalTable, next: ReadonlyMap<string, Position>): Statement {
    const parameters = new Parameters();
    const keys = parameters.add([...next.keys()].map(storedText));
    const ends = parameters.add([...next.values()].map(String));
    const text = `update ${table.name} t set until = u.until::bigint from unnest(${keys}[], ${ends}[]) as u(key, until)
      where t.key = u.key and t.until = ${FOREVER}`;
    return this.statement(text, parameters.values);
  }

  private replace(table: PhysicalTable, list: readonly RowVersion[]): Statement {
    const parameters = new Parameters();
    const { columns, values } = documentColumns(
      table,
      list.map(({ key, row }) => [storedText(key), row] as const),
    );
    const sources = [...values, list.map((v) => String(v.position))].map((value) => `${parameters.add(value)}[]`);
    const sets = ['doc = u.doc::json', ...columns.map((column) => `${column} = u.${column}`)];
    const text = `with done as (update ${table.name} t set ${sets.join(', ')}
      from unnest(${sources.join(', ')}) as u(key, doc${columns.map((column) => `, ${column}`).join('')}, position)
      where t.key = u.key and t.position = u.position::bigint and t.doc is not null and t.doc::text <> u.doc returning 1)
      select count(*) from done`;
    return this.statement(text, parameters.values);
  }

  private insert(table: PhysicalTable, list: readonly RowVersion[], ends: readonly Position[]): Statement {
    const parameters = new Parameters();
    const { columns, values } = documentColumns(
      table,
      list.map(({ key, row }) => [storedText(key), row] as const),
    );
    const positions = [list.map((v) => String(v.position)), ends.map(String)];
    const sources = [...values, ...positions].map((value) => `${parameters.add(value)}[]`);
    const named = columns.map((c) => `, ${c}`).join('');
    const text = `insert into ${table.name} (key, doc${named}, position, until)
      select k, d::json${named}, p::bigint, e::bigint from unnest(${sources.join(', ')}) as u(k, d${named}, p, e)`;
    return this.statement(text, parameters.values);
  }

  private checkpointStatement(lock: string): Statement {
    if (this.generation === undefined) throw new Error('the history was not prepared');
    const text = `select position from ${this.quotedSchema}.checkpoint where generation = $1${lock}`;
    return this.statement(text, [this.generation]);
  }

  private read<R extends readonly unknown[]>(statement: Statement): Promise<R[]> {
    return this.foreseen(() => this.reader.repeatable<R>(statement));
  }

  private async foreseen<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof ConnectionLost) throw unavailable('the history cannot be reached', error);
      throw error;
    }
  }
}
