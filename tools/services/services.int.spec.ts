import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isNewEnough, natsServerBinary, startNats } from './nats.mjs';
import { postgresBinaries, startPostgres } from './postgres.mjs';

const root = fileURLToPath(new URL('../../', import.meta.url));
const asRoot = process.getuid?.() === 0;
const user = asRoot ? { user: { uid: 65_534, gid: 65_534 } } : {};
let dir: string;

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'services-'));
  chmodSync(dir, 0o755);
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe('PostgreSQL', () => {
  it('starts, keeps its data over kill -9, and says what is in its way', async () => {
    const options = { dir: join(dir, 'pg'), binaries: postgresBinaries(root), ...user };
    const ask = async (url: string, sql: string) => {
      const client = new pg.Client({ connectionString: url });
      await client.connect();
      try {
        return (await client.query(sql)).rows;
      } finally {
        await client.end();
      }
    };
    let server = await startPostgres(options);
    try {
      await ask(server.url, 'create table kept as select 7 as n');
      expect(await ask(server.socketUrl ?? server.url, 'show server_encoding')).toEqual([{ server_encoding: 'UTF8' }]);
      await expect(ask(server.urlOf('postgres', 'postgres', 'wrong'), 'select 1')).rejects.toMatchObject({
        code: '28P01',
      });
      await expect(startPostgres(options)).rejects.toThrow('is running in');
      const other = { ...options, dir: join(dir, 'pg2'), port: server.port };
      await expect(startPostgres(other)).rejects.toThrow(`port ${server.port} of 127.0.0.1 is taken`);
      const before = server.port;
      await server.kill();
      server = await startPostgres({ ...options, port: before });
      expect(await ask(server.url, 'select n from kept')).toEqual([{ n: 7 }]);
    } finally {
      await server.stop();
    }
  });

  it('leaves the data of another major version alone', async () => {
    const data = join(dir, 'pg4', 'data');
    mkdirSync(data, { recursive: true });
    writeFileSync(join(data, 'PG_VERSION'), '9\n');
    const other = startPostgres({ dir: join(dir, 'pg4'), binaries: postgresBinaries(root), ...user });
    await expect(other).rejects.toThrow('was made by PostgreSQL 9');
  });

  it.runIf(asRoot)('does not run as root, nor where its user cannot get to', async () => {
    const binaries = postgresBinaries(root);
    await expect(startPostgres({ dir: join(dir, 'pg3'), binaries })).rejects.toThrow('refuses to run as root');
    mkdirSync(join(dir, 'private'), { mode: 0o700 });
    const hidden = startPostgres({ dir: join(dir, 'private', 'pg'), binaries, ...user });
    await expect(hidden).rejects.toThrow('each folder above it');
  });
});

describe('NATS', () => {
  it('starts with the configuration given, and says what is in its way', async () => {
    const binary = await natsServerBinary(join(homedir(), '.cache', 'omnivisor'));
    const server = await startNats({ dir: join(dir, 'nats'), binary, config: 'max_payload: 65536', ...user });
    try {
      const taken = startNats({ dir: join(dir, 'nats2'), binary, config: '', port: server.port, ...user });
      await expect(taken).rejects.toThrow('is taken');
      await expect(startNats({ dir: join(dir, 'nats3'), binary, config: 'nonsense {', ...user })).rejects.toThrow(
        'NATS ended',
      );
    } finally {
      await server.stop();
    }
  });

  it('knows which versions are safe', () => {
    const judged = ['v2.9.10', 'v2.10.22', 'v2.10.23', 'v2.15.1', 'v3.0.0', 'none'].map(isNewEnough);
    expect(judged).toEqual([false, false, true, true, true, false]);
  });
});
