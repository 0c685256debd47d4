import { invalid, type Position } from '@omnivisor/contracts';
import type { Query, RowReader, Table } from '../read-model.js';
import { decodeDocument, originalText, scalarText, storedText } from './codec.js';
import type { Statement } from './link.js';
import { type PhysicalTable, QueryText } from './query.js';
import type { RowCache } from './row-cache.js';

/** Statements that a connection keeps planned; rarer ones beyond it are planned each time. */
const MAX_STATEMENTS = 400;

/** Gives statements the names under which connections keep their plans. */
export class Statements {
  private readonly names = new Map<string, string>();

  named(text: string, values: readonly unknown[]): Statement {
    let name = this.names.get(text);
    if (name === undefined && this.names.size < MAX_STATEMENTS) {
      name = `s${this.names.size}`;
      this.names.set(text, name);
    }
    return name === undefined ? { text, values } : { name, text, values };
  }
}

/** What rows are read from. */
export interface RowTables {
  /** Quoted. */
  readonly quotedSchema: string;
  table(table: { readonly name: string }): PhysicalTable;
  statement(text: string, values: readonly unknown[]): Statement;
}

type Run = <Row extends readonly unknown[]>(statement: Statement) => Promise<Row[]>;

/** Rows by a connection: inside a transaction, or each query by itself. */
export class Rows implements RowReader {
  constructor(
    private readonly tables: RowTables,
    private readonly run: Run,
    private readonly options: {
      /** Of tables with versions: those that were the newest when the event at this position was. */
      readonly moment?: Position;
      /** Rows by key need not be asked for when they are known. */
      readonly cache?: RowCache;
    } = {},
  ) {}

  async get<Row extends object>(table: Table<Row>, key: string): Promise<Row | undefined> {
    return (await this.getMany(table, [key])).get(key);
  }

  async getMany<Row extends object>(table: Table<Row>, keys: readonly string[]): Promise<Map<string, Row>> {
    const { cache } = this.options;
    const physical = this.tables.table(table);
    const found = new Map<string, Row>();
    const unknown: string[] = [];
    for (const key of keys) {
      const stored = storedText(key);
      const known = cache?.get(physical, stored);
      if (known === undefined) unknown.push(stored);
      else found.set(key, decodeDocument<Row>(known));
    }
    if (unknown.length === 0) return found;
    const stamp = cache?.stamp;
    const text = this.query(table);
    const wanted =
      unknown.length === 1
        ? `key = ${text.parameters.add(unknown[0])}`
        : `key = any(${text.parameters.add(unknown)}[])`;
    for (const [key, doc] of await this.select<[string, string]>(text, table, 'key, doc', [wanted])) {
      found.set(originalText(key), decodeDocument<Row>(doc));
      if (stamp !== undefined) cache?.learn(stamp, physical, key, doc);
    }
    return found;
  }

  async find<Row extends object>(table: Table<Row>, query?: Query<Row>): Promise<Row[]> {
    return [...(await this.scan(table, query))];
  }

  async scan<Row extends object>(table: Table<Row>, query: Query<Row> = {}): Promise<Iterable<Row>> {
    const order = query.orderBy ?? [];
    const text = this.query(table);
    const conditions = text.where(query.where);
    if (query.after !== undefined) {
      const key = query.after;
      const marker = await this.get(table, key);
      if (!marker) throw invalid(`marker [${key}] not found`);
      const scalars = order.map(([field]) => scalarText(marker[field]));
      conditions.push(text.after(order, { key, scalars }));
    }
    const limit = query.limit === undefined ? '' : ` limit ${text.parameters.add(query.limit, 'bigint')}`;
    const rows = await this.select<[string]>(
      text,
      table,
      'doc',
      conditions,
      ` order by ${text.orderBy(order)}${limit}`,
    );
    return {
      *[Symbol.iterator]() {
        for (const [doc] of rows) yield decodeDocument<Row>(doc);
      },
    };
  }

  async count<Row extends object>(table: Table<Row>, where?: Query<Row>['where']): Promise<number> {
    const text = this.query(table);
    const [row] = await this.select<[number]>(text, table, 'count(*)', text.where(where));
    return row![0];
  }

  private query(table: { readonly name: string }): QueryText {
    return new QueryText(this.tables.quotedSchema, this.tables.table(table));
  }

  private select<R extends readonly unknown[]>(
    text: QueryText,
    table: { readonly name: string },
    what: string,
    conditions: readonly string[],
    rest = '',
  ): Promise<R[]> {
    const all = [...conditions];
    if (this.options.moment !== undefined) {
      const moment = text.parameters.add(this.options.moment, 'bigint');
      all.push(`position <= ${moment}`, `until > ${moment}`, 'doc is not null');
    }
    const where = all.length > 0 ? ` where ${all.join(' and ')}` : '';
    const { name } = this.tables.table(table);
    return this.run<R>(this.tables.statement(`select ${what} from ${name}${where}${rest}`, text.parameters.values));
  }
}
