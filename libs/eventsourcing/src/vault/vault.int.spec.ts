import { inspect } from 'node:util';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestPostgres, type TestPostgres } from '../testing/test-postgres.js';
import { MemoryVault } from './memory-vault.js';
import { PostgresVault } from './postgres-vault.js';
import { masterKeys } from './sealed.js';
import type { Vault } from './vault.js';

const one = '01'.repeat(32);
const two = '02'.repeat(32);
const SECRET = 'hunter2-hunter2';

const describeVault = (name: string, open: () => Promise<Vault>) => {
  describe(`vault: ${name}`, () => {
    it('keeps, gives and erases', async () => {
      const vault = await open();
      const text = await vault.put('user-data', SECRET);
      const bytes = await vault.put('key', new Uint8Array([0, 255, 1]));
      expect(text.fingerprint).toMatch(/^[0-9a-f]{64}$/);
      expect((await vault.get(text)).toString()).toBe(SECRET);
      expect([...(await vault.get(bytes.ref))]).toEqual([0, 255, 1]);
      await vault.erase(text);
      await vault.erase(text.ref);
      await vault.erase('never was');
      await expect(vault.get(text)).rejects.toMatchObject({ kind: 'notFound' });
      await expect(vault.get("' or 1=1")).rejects.toMatchObject({ kind: 'notFound' });
      expect(await vault.get(bytes)).toHaveLength(3);
    });
  });
};

let server: TestPostgres;
let url: string;
const opened: PostgresVault[] = [];
const openVault = async (keys: string) => {
  const vault = new PostgresVault({ url, schema: 'app', keys: masterKeys(keys) });
  opened.push(vault);
  await vault.prepare();
  return vault;
};

beforeAll(async () => {
  server = await startTestPostgres();
  url = await server.database();
});
afterAll(async () => {
  for (const vault of opened) await vault.close();
  await server?.stop();
});

it('is made once by replicas that start together', async () => {
  for (let round = 0; round < 5; round++) {
    const vaults = Array.from(
      { length: 6 },
      () => new PostgresVault({ url, schema: `together_${round}`, keys: masterKeys(one) }),
    );
    opened.push(...vaults);
    await Promise.all(vaults.map((vault) => vault.prepare()));
    const { ref } = await vaults[0]!.put('key', SECRET);
    expect((await vaults[5]!.get(ref)).toString()).toBe(SECRET);
    await Promise.all(vaults.map((vault) => vault.close()));
  }
});

describeVault('memory', async () => new MemoryVault());
describeVault('PostgreSQL', () => openVault(one));

describe('PostgreSQL vault', () => {
  it('has nothing readable in the database', async () => {
    const { ref } = await (await openVault(one)).put('user-data', SECRET);
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    const { rows } = await client.query('select * from app.vault where ref = $1', [ref]);
    await client.end();
    expect(rows).toHaveLength(1);
    expect(Buffer.concat([rows[0].nonce, rows[0].body]).includes(SECRET)).toBe(false);
  });

  it('changes its master key', async () => {
    const { ref } = await (await openVault(one)).put('user-data', SECRET);
    expect(await (await openVault(`${two},${one}`)).rotate()).toBeGreaterThan(0);
    expect((await (await openVault(two)).get(ref)).toString()).toBe(SECRET);
    await expect((await openVault(one)).get(ref)).rejects.toThrow('is not configured');
  });

  it('says nothing of the secret in an error', async () => {
    const vault = new PostgresVault({ url, schema: 'nowhere', keys: masterKeys(one) });
    opened.push(vault);
    const error = await vault.put('user-data', SECRET).catch((e: unknown) => e);
    const shown = inspect(error, { depth: 10 });
    expect(shown).toContain('the vault refused');
    expect(shown).not.toContain(SECRET);
    expect(shown).not.toContain(Buffer.from(SECRET).toString('hex'));
  });
});
