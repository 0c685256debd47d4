import { createHash } from 'node:crypto';
import type { Table } from '../read-model.js';
import { encodeDocument, scalarFunction, scalarText } from './codec.js';
import type { Link } from './link.js';
import { columnOf, type PhysicalTable } from './query.js';

/** Taken for the time of a change of tables, so that replicas that start together take turns. */
const PREPARE_LOCK = 7_164_508_232;

/**
 * What a set of tables is called. Another set, as another release has it, is projected beside it, from the beginning,
 * with a checkpoint of its own.
 */
export const generationOf = (tables: readonly Table<never>[]): string => {
  const shapes = tables.map((t) => `${t.name}:${JSON.stringify(t.indexes)}`).sort();
  return createHash('sha256').update(shapes.join('\n')).digest('hex').slice(0, 8);
};

/** Key, document and indexed fields of rows, a list each, and the names of the fields' columns. */
export const documentColumns = (
  table: PhysicalTable,
  rows: readonly (readonly [key: string, row: object | undefined])[],
): { columns: string[]; values: (string | null)[][] } => ({
  columns: table.fields.map(columnOf),
  values: [
    rows.map(([key]) => key),
    rows.map(([, row]) => (row === undefined ? null : encodeDocument(row))),
    ...table.fields.map((field) =>
      rows.map(([, row]) => (row === undefined ? null : scalarText((row as Record<string, unknown>)[field]))),
    ),
  ],
});

const tableSteps = (table: PhysicalTable): string[] => [
  `create table if not exists ${table.name} (key text collate "C" primary key, doc json not null${table.fields
    .map((field) => `, ${columnOf(field)} text collate "C"`)
    .join('')}) with (fillfactor = 70, toast_tuple_target = 8160)`,
  ...table.indexes.map(
    (fields, i) =>
      `create index if not exists "${table.plainName}_${i}" on ${table.name} (${fields
        .map((field) => `${columnOf(field)} nulls first`)
        .join(', ')}, key)`,
  ),
];

/**
 * Makes what is missing, and drops the tables of releases that have not projected for a week.
 * @param schema quoted
 */
export const prepareSchema = async (
  link: Link,
  schema: string,
  generation: string,
  tables: readonly PhysicalTable[],
  stepsOf: (table: PhysicalTable) => string[] = tableSteps,
): Promise<void> => {
  const transaction = link.pin();
  const run = <Row extends readonly unknown[]>(text: string, values?: readonly unknown[]) =>
    transaction.query<Row>(values === undefined ? { text } : { text, values });
  await run('begin');
  try {
    // Rows may be lost in a crash and are projected again; tables may not.
    await run('set local synchronous_commit = on');
    await run(`select pg_advisory_xact_lock(${PREPARE_LOCK})`);
    const [[exists] = [false]] = await run<[boolean]>('select to_regnamespace($1) is not null', [schema]);
    if (!exists) await run(`create schema ${schema}`);
    await run(
      `create table if not exists ${schema}.checkpoint (generation text primary key, position bigint not null,
        tables text[] not null, used_at timestamptz not null default now()) with (fillfactor = 10)`,
    );
    await run(
      `create table if not exists ${schema}.lease (generation text, process text, key text collate "C",
        until text collate "C" not null, primary key (generation, process, key))`,
    );
    await run(scalarFunction(schema));
    const [known] = await run(`select 1 from ${schema}.checkpoint where generation = $1`, [generation]);
    // An index that is there already still costs a lock, which a replica that projects would meet in another order.
    if (!known) for (const table of tables) for (const step of stepsOf(table)) await run(step);
    await run(
      `insert into ${schema}.checkpoint (generation, position, tables) values ($1, 0, $2)
       on conflict (generation) do update set used_at = now()`,
      [generation, tables.map((t) => t.name)],
    );
    const old = await run<[string, string]>(
      `delete from ${schema}.checkpoint where used_at < now() - interval '7 days' returning generation, array_to_json(tables)`,
    );
    for (const [name, names] of old) {
      for (const table of JSON.parse(names) as string[]) await run(`drop table if exists ${table}`);
      await run(`delete from ${schema}.lease where generation = $1`, [name]);
    }
    await run('commit');
  } catch (error) {
    await run('rollback').catch(() => {});
    throw error;
  }
};
