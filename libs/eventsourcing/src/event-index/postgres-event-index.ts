import { createHash } from 'node:crypto';
import { type Position, unavailable } from '@omnivisor/contracts';
import pg from 'pg';
import { storedText } from '../postgres/codec.js';
import { ConnectionLost, Link, type Statement } from '../postgres/link.js';
import { Parameters, physicalTable } from '../postgres/query.js';
import { prepareSchema } from '../postgres/read-model-schema.js';
import { table } from '../read-model.js';
import type { EventIndex, IndexEntry, IndexQuery } from './event-index.js';

export interface PostgresEventIndexOptions {
  /** Login of the service's role. */
  readonly url: string;
  /** The app's schema. */
  readonly schema: string;
  /** What entries are made by: another rule gives another index, built from the log. */
  readonly rule: string;
}

const TABLE = table('event_index_v1');

/** The index in the app's schema: one narrow row an event, filled in bulk, never on the way of an append. */
export class PostgresEventIndex implements EventIndex {
  private readonly schema: string;
  private readonly generation: string;
  private readonly name: string;
  private readonly reader: Link;
  private readonly writer: Link;
  private turn: Promise<unknown> = Promise.resolve();

  constructor({ url, schema, rule }: PostgresEventIndexOptions) {
    this.schema = pg.escapeIdentifier(schema);
    this.generation = `index_${createHash('sha256').update(rule).digest('hex').slice(0, 8)}`;
    this.name = physicalTable(this.schema, this.generation, TABLE).name;
    this.reader = new Link({ url, name: 'omnivisor index reader', pipeline: true });
    const settings = { synchronous_commit: 'off', idle_in_transaction_session_timeout: '15000' };
    this.writer = new Link({ url, name: 'omnivisor indexer', settings });
  }

  async prepare(): Promise<void> {
    const physical = physicalTable(this.schema, this.generation, TABLE);
    const index = (name: string, columns: string) =>
      `create index if not exists "${physical.plainName}_${name}" on ${physical.name} ${columns}`;
    await this.foreseen(() =>
      prepareSchema(this.writer, this.schema, this.generation, [physical], () => [
        `create table if not exists ${physical.name} (position bigint primary key, type text collate "C" not null,
          project text collate "C", actor text collate "C" not null, resources text[] collate "C" not null)`,
        index('project', '(project, position)'),
        index('actor', '(actor, position)'),
        index('type', '(type, position)'),
        index('resources', 'using gin (resources)'),
      ]),
    );
  }

  async checkpoint(): Promise<Position> {
    const [row] = await this.read<[number]>(this.checkpointStatement(''));
    return row![0];
  }

  advance(work: (from: Position) => Promise<{ to: Position; entries: readonly IndexEntry[] }>): Promise<Position> {
    const run = this.turn.then(() => this.foreseen(() => this.advanceInTurn(work)));
    this.turn = run.catch(() => {});
    return run;
  }

  async find({ project, actor, types, resource, after, until, order, limit }: IndexQuery): Promise<Position[]> {
    const parameters = new Parameters();
    const where = [
      `position > ${parameters.add(after, 'bigint')}`,
      `position <= ${parameters.add(until, 'bigint')}`,
      ...(project === undefined
        ? []
        : [project === null ? 'project is null' : `project = ${parameters.add(storedText(project))}`]),
      ...(actor === undefined ? [] : [`actor = ${parameters.add(storedText(actor))}`]),
      ...(types === undefined ? [] : [`type = any(${parameters.add([...types])}[])`]),
      ...(resource === undefined ? [] : [`resources @> ${parameters.add([storedText(resource)])}[]`]),
    ];
    const rows = await this.read<[number]>({
      text: `select position from ${this.name} where ${where.join(' and ')}
        order by position ${order === 'oldest first' ? 'asc' : 'desc'} limit ${parameters.add(limit, 'bigint')}`,
      values: parameters.values,
    });
    return rows.map(([position]) => position);
  }

  async close(): Promise<void> {
    await this.turn;
    await Promise.all([this.writer.close(), this.reader.close()]);
  }

  private async advanceInTurn(
    work: (from: Position) => Promise<{ to: Position; entries: readonly IndexEntry[] }>,
  ): Promise<Position> {
    const transaction = this.writer.pin();
    await transaction.query({ text: 'begin' });
    try {
      const [row] = await transaction.query<[number]>(this.checkpointStatement(' for update'));
      const { to, entries } = await work(row![0]);
      if (entries.length > 0) await transaction.query(this.insert(entries));
      await transaction.query({
        name: 'move',
        text: `update ${this.schema}.checkpoint set position = $1, used_at = now() where generation = $2`,
        values: [to, this.generation],
      });
      await transaction.query({ text: 'commit' });
      return to;
    } catch (error) {
      await transaction.query({ text: 'rollback' }).catch(() => {});
      throw error;
    }
  }

  /** Arrays of arrays must be even: resources travel as one text each, with a character that no id has. */
  private insert(entries: readonly IndexEntry[]): Statement {
    return {
      name: 'insert',
      text: `insert into ${this.name} (position, type, project, actor, resources)
        select p::bigint, t, pr, a, coalesce(string_to_array(nullif(r, ''), E'\\n'), '{}')
        from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]) as u(p, t, pr, a, r)`,
      values: [
        entries.map((e) => String(e.position)),
        entries.map((e) => e.type),
        entries.map((e) => e.project && storedText(e.project)),
        entries.map((e) => storedText(e.actor)),
        entries.map((e) => e.resources.map(storedText).join('\n')),
      ],
    };
  }

  private checkpointStatement(lock: string): Statement {
    return {
      text: `select position from ${this.schema}.checkpoint where generation = $1${lock}`,
      values: [this.generation],
    };
  }

  private read<R extends readonly unknown[]>(statement: Statement): Promise<R[]> {
    return this.foreseen(() => this.reader.repeatable<R>(statement));
  }

  private async foreseen<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof ConnectionLost) throw unavailable('the index of the log cannot be reached', error);
      throw error;
    }
  }
}
