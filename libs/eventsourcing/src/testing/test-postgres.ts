import { randomUUID } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import pg from 'pg';

interface Server {
  readonly url: string;
  readonly port: number;
  urlOf(database: string, user?: string, password?: string): string;
  stop(): Promise<void>;
  kill(): Promise<void>;
}

/** A PostgreSQL of a spec's own. */
export interface TestPostgres {
  /** Makes an empty database. @returns its owner's address */
  database(): Promise<string>;
  /** The address of a database for another role. */
  as(url: string, user: string, password: string): string;
  kill(): Promise<void>;
  start(): Promise<void>;
  stop(): Promise<void>;
}

/** @param durable true to wait for the disk as in production */
export const startTestPostgres = async (durable = false): Promise<TestPostgres> => {
  const root = fileURLToPath(new URL('../../../../', import.meta.url));
  const services = new URL('../../../../tools/services/postgres.mjs', import.meta.url).href;
  const { postgresBinaries, startPostgres } = await import(services);
  const dir = mkdtempSync(join(tmpdir(), 'pg-'));
  chmodSync(dir, 0o755);
  const nobody = 65_534;
  const options = {
    dir: join(dir, 'pg'),
    binaries: postgresBinaries(root),
    durable,
    ...(process.getuid?.() === 0 ? { user: { uid: nobody, gid: nobody } } : {}),
  };
  let server: Server = await startPostgres(options);
  return {
    async database() {
      const name = `t${randomUUID().replaceAll('-', '')}`;
      const client = new pg.Client({ connectionString: server.url });
      await client.connect();
      await client.query(`create database ${name}`);
      await client.end();
      return server.urlOf(name);
    },
    as(url, user, password) {
      return server.urlOf(new URL(url).pathname.slice(1), user, password);
    },
    kill: () => server.kill(),
    async start() {
      server = await startPostgres({ ...options, port: server.port });
    },
    async stop() {
      await server.stop();
      rmSync(dir, { recursive: true, force: true });
    },
  };
};
