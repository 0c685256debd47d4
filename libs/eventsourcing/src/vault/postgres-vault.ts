import { randomUUID } from 'node:crypto';
import { unavailable, type VaultRef } from '@omnivisor/contracts';
import pg from 'pg';
import { ConnectionLost, Link, type Statement } from '../postgres/link.js';
import { type MasterKey, Sealer } from './sealed.js';
import { bytesOf, fingerprintOf, noSuchSecret, refOf, type Vault } from './vault.js';

export interface PostgresVaultOptions {
  /** Login of the service's role. */
  readonly url: string;
  /** The app's schema; the table `vault` is made in it. */
  readonly schema: string;
  /** The first one closes, all of them open. */
  readonly keys: readonly MasterKey[];
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const fromHex = (text: string) => Buffer.from(text.slice(2), 'hex');

/** @param schema quoted */
export const vaultTable = (schema: string): string =>
  `create table if not exists ${schema}.vault (ref uuid primary key, kind text not null, key_id text not null,
    nonce bytea not null, body bytea not null, created_at timestamptz not null default now())`;

/** Secrets in a table of the app, closed by a master key that the database does not have. */
export class PostgresVault implements Vault {
  private readonly link: Link;
  private readonly sealer: Sealer;
  private readonly schema: string;

  constructor(options: PostgresVaultOptions) {
    this.link = new Link({ url: options.url, name: 'omnivisor vault', pipeline: true });
    this.sealer = new Sealer(options.keys);
    this.schema = pg.escapeIdentifier(options.schema);
  }

  /** Makes the table. */
  async prepare(): Promise<void> {
    const [[there] = [false]] = await this.run<[boolean]>({
      text: 'select to_regclass($1) is not null',
      values: [`${this.schema}.vault`],
    });
    if (there) return;
    const [[schema] = [false]] = await this.run<[boolean]>({
      text: 'select to_regnamespace($1) is not null',
      values: [this.schema],
    });
    if (!schema) await this.make(`create schema if not exists ${this.schema}`);
    await this.make(vaultTable(this.schema));
  }

  /** Replicas that start together make the same thing at the same moment: then it is there. */
  private async make(text: string): Promise<void> {
    try {
      await this.run({ text });
    } catch (error) {
      if (!/refused: (23505|42710|42P06|42P07)$/.test((error as Error).message)) throw error;
    }
  }

  async put(kind: string, secret: string | Uint8Array): Promise<VaultRef> {
    const ref = randomUUID();
    const bytes = bytesOf(secret);
    const { keyId, nonce, body } = this.sealer.seal(ref, kind, bytes);
    // Sent again after a lost connection, the same row is there already.
    await this.run({
      name: 'put',
      text: `insert into ${this.schema}.vault (ref, kind, key_id, nonce, body) values ($1, $2, $3, $4, $5)
             on conflict (ref) do nothing`,
      values: [ref, kind, keyId, nonce, body],
    });
    return { ref, fingerprint: fingerprintOf(bytes) };
  }

  async get(ref: VaultRef | string): Promise<Buffer> {
    const id = refOf(ref);
    if (!UUID.test(id)) throw noSuchSecret();
    const [row] = await this.run<[string, string, string, string]>({
      name: 'get',
      text: `select kind, key_id, nonce, body from ${this.schema}.vault where ref = $1`,
      values: [id],
    });
    if (!row) throw noSuchSecret();
    const [kind, keyId, nonce, body] = row;
    return this.sealer.open(id, kind, { keyId, nonce: fromHex(nonce), body: fromHex(body) });
  }

  async erase(ref: VaultRef | string): Promise<void> {
    const id = refOf(ref);
    if (!UUID.test(id)) return;
    await this.run({ name: 'erase', text: `delete from ${this.schema}.vault where ref = $1`, values: [id] });
  }

  /** Closes with the first key what an older one closed. @returns how many there were */
  async rotate(): Promise<number> {
    const current = this.sealer.seal('', '', Buffer.alloc(0)).keyId;
    for (let moved = 0; ; ) {
      const rows = await this.run<[string, string, string, string, string]>({
        text: `select ref, kind, key_id, nonce, body from ${this.schema}.vault where key_id <> $1 limit 100`,
        values: [current],
      });
      for (const [ref, kind, keyId, nonce, body] of rows) {
        const secret = this.sealer.open(ref, kind, { keyId, nonce: fromHex(nonce), body: fromHex(body) });
        const sealed = this.sealer.seal(ref, kind, secret);
        await this.run({
          text: `update ${this.schema}.vault set key_id = $2, nonce = $3, body = $4 where ref = $1`,
          values: [ref, sealed.keyId, sealed.nonce, sealed.body],
        });
      }
      moved += rows.length;
      if (rows.length === 0) return moved;
    }
  }

  close(): Promise<void> {
    return this.link.close();
  }

  private async run<Row extends readonly unknown[]>(statement: Statement): Promise<Row[]> {
    try {
      return await this.link.repeatable<Row>(statement);
    } catch (error) {
      if (error instanceof ConnectionLost) throw unavailable('the vault cannot be reached', error);
      // The database's own text may repeat what was sent.
      const code = (error as { code?: string }).code;
      throw new Error(`the vault refused: ${code ?? 'unknown'}`);
    }
  }
}
