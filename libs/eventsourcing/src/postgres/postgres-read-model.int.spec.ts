import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Table, table } from '../read-model.js';
import { describeReadModel } from '../testing/read-model-suite.js';
import { startTestPostgres, type TestPostgres } from '../testing/test-postgres.js';
import { PostgresReadModel } from './postgres-read-model.js';

describeReadModel('PostgreSQL', async () => {
  const server = await startTestPostgres();
  const url = await server.database();
  let schema = '';
  let tables: Table<never>[] = [];
  let made = 0;
  const again = async () => {
    const model = new PostgresReadModel({ url, schema });
    await model.prepare(tables);
    return model;
  };
  return {
    fresh: (...wanted) => {
      schema = `app${made++}`;
      tables = wanted;
      return again();
    },
    again,
    close: () => server.stop(),
  };
});

describe('PostgreSQL read model', () => {
  let server: TestPostgres;
  beforeAll(async () => {
    server = await startTestPostgres();
  });
  afterAll(() => server?.stop());

  it('projects another set of tables beside the old one, from the beginning', async () => {
    const url = await server.database();
    const a = table<{ n: number }>('a_v1', ['n']);
    const b = table<{ n: number }>('b_v1');
    const old = new PostgresReadModel({ url, schema: 'app' });
    await old.prepare([a]);
    await old.advance(async () => ({ to: 7, changes: [{ table: a, key: 'k', row: { n: 1 } }] }));
    const next = new PostgresReadModel({ url, schema: 'app' });
    await next.prepare([a, b]);
    expect(await next.checkpoint()).toBe(0);
    expect(await next.get(a, 'k')).toBeUndefined();
    expect(await old.get(a, 'k')).toEqual({ n: 1 });
    const same = new PostgresReadModel({ url, schema: 'app' });
    await same.prepare([a]);
    expect(await same.checkpoint()).toBe(7);
    await Promise.all([old, next, same].map((model) => model.close()));
  });

  it('is prepared without waiting for a replica that is writing its rows', async () => {
    const url = await server.database();
    const a = table<{ n: number }>('a_v1', ['n']);
    const [first, second] = [
      new PostgresReadModel({ url, schema: 'app' }),
      new PostgresReadModel({ url, schema: 'app' }),
    ];
    await first.prepare([a]);
    const writer = new pg.Client({ connectionString: url });
    await writer.connect();
    const { rows } = await writer.query(
      "select tablename from pg_tables where schemaname = 'app' and tablename like 'a_v1%'",
    );
    await writer.query(`begin; lock table app."${rows[0].tablename}" in row exclusive mode`);
    await second.prepare([a]);
    expect(await second.find(a)).toEqual([]);
    await writer.end();
    await Promise.all([first.close(), second.close()]);
  });

  it('takes no name that could be anything but a name', async () => {
    const url = await server.database();
    const model = new PostgresReadModel({ url, schema: 'app' });
    await expect(model.prepare([table('x"; drop table y; --')])).rejects.toThrow('not a table name');
    await expect(model.prepare([table<Record<string, unknown>>('x', ["a'"])])).rejects.toThrow('not a field name');
    const fine = table<Record<string, unknown>>('x');
    await model.prepare([fine]);
    await expect(model.find(fine, { where: { "a' or true --": 1 } })).rejects.toThrow('not a field name');
    await model.close();
  });

  it('answers 503 while PostgreSQL is away, and then goes on by itself', async () => {
    const url = await server.database();
    const a = table<{ n: number }>('a_v1');
    const model = new PostgresReadModel({ url, schema: 'app' });
    await model.prepare([a]);
    await model.advance(async () => ({ to: 1, changes: [{ table: a, key: 'k', row: { n: 1 } }] }));
    await server.kill();
    await expect(model.get(a, 'k')).rejects.toMatchObject({ kind: 'unavailable' });
    await expect(model.advance(async () => ({ to: 2, changes: [] }))).rejects.toMatchObject({ kind: 'unavailable' });
    await server.start();
    await model.advance(async (from) => ({ to: from + 1, changes: [{ table: a, key: 'k', row: { n: 2 } }] }));
    expect(await model.get(a, 'k')).toEqual({ n: 2 });
    await model.close();
  });

  it('leaves the checkpoint alone when the connection is lost during the work', async () => {
    const url = await server.database();
    const a = table<{ n: number }>('a_v1');
    const model = new PostgresReadModel({ url, schema: 'app' });
    await model.prepare([a]);
    const advancing = model.advance(async (from) => {
      await server.kill();
      await server.start();
      return { to: from + 1, changes: [{ table: a, key: 'k', row: { n: 1 } }] };
    });
    await expect(advancing).rejects.toMatchObject({ kind: 'unavailable' });
    expect(await model.checkpoint()).toBe(0);
    expect(await model.get(a, 'k')).toBeUndefined();
    await model.close();
  });
});
