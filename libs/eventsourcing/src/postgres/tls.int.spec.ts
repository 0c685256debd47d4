import { chmodSync, chownSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hasOpenssl, TestAuthority } from '@omnivisor/platform/testing';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestPostgres, type TestPostgres } from '../testing/index.js';
import { ConnectionLost, Link } from './link.js';

describe.skipIf(!hasOpenssl())('PostgreSQL with TLS', () => {
  const folder = mkdtempSync(join(tmpdir(), 'omnivisor-pg-tls-'));
  let ours: TestAuthority;
  let theirs: TestAuthority;
  let postgres: TestPostgres;
  let url: string;

  /** Gives the server a certificate of this name; it takes it up without a restart. */
  const certify = async (file: string, names: string) => {
    const { cert, key } = ours.issue(file, names);
    if (process.getuid?.() === 0) for (const one of [cert, key]) chownSync(one, 65_534, 65_534);
    chmodSync(key, 0o600);
    const admin = new pg.Client({ connectionString: url });
    await admin.connect();
    await admin.query(`alter system set ssl_cert_file = '${cert}'`);
    await admin.query(`alter system set ssl_key_file = '${key}'`);
    await admin.query('alter system set ssl = on');
    await admin.query('select pg_reload_conf()');
    await admin.end();
  };
  beforeAll(async () => {
    chmodSync(folder, 0o755);
    [ours, theirs] = [new TestAuthority(folder, 'ours'), new TestAuthority(folder, 'theirs')];
    postgres = await startTestPostgres();
    url = await postgres.database();
    await certify('server', 'DNS:localhost');
  });
  afterAll(async () => {
    await postgres?.stop();
    rmSync(folder, { recursive: true });
  });

  /** Whether a service's connection is encrypted. */
  const isEncrypted = async (query: string): Promise<boolean> => {
    const link = new Link({ url: `${url.replace('127.0.0.1', 'localhost')}?${query}`, name: 'spec' });
    try {
      const text = 'select ssl from pg_stat_ssl where pid = pg_backend_pid()';
      return (await link.repeatable<[boolean]>({ text }))[0]![0];
    } finally {
      await link.close();
    }
  };
  const by = (authority: TestAuthority) => `sslmode=verify-full&sslrootcert=${authority.ca}`;

  it('is used when its authority is the one that was named', async () => {
    await expect.poll(() => isEncrypted(by(ours)).catch((error) => String(error.cause ?? error))).toBe(true);
    expect(await isEncrypted('')).toBe(false);
  });

  it('is not used without an authority or with a wrong one', async () => {
    for (const query of ['sslmode=verify-full', by(theirs)])
      await expect(isEncrypted(query)).rejects.toMatchObject({
        name: 'ConnectionLost',
        cause: { message: expect.stringMatching(/self-signed certificate|unable to (?:verify|get)/) },
      });
  });

  it('OSSN-0096 is not used when the certificate is of another name', async () => {
    await certify('other', 'DNS:other.example');
    const refusal = async () => {
      const error: unknown = await isEncrypted(by(ours)).catch((e) => e);
      return error instanceof ConnectionLost ? String((error.cause as Error).message) : 'let in';
    };
    await expect.poll(refusal).toMatch(/does not match certificate's altnames/);
  });
});
