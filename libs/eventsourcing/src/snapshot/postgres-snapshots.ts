import { type EventId, type Position, unavailable } from '@omnivisor/contracts';
import pg from 'pg';
import { ConnectionLost, Link } from '../postgres/link.js';
import { Digest, type Snapshot, SnapshotDamaged, type SnapshotStore, type Snapshots } from './snapshot-store.js';

export interface PostgresSnapshotsOptions {
  /** Login of the service's role. */
  readonly url: string;
  /** The app's schema. */
  readonly schema: string;
}

type Key = readonly [name: string, version: string];
type Run = <Row extends readonly unknown[]>(text: string, values?: readonly unknown[]) => Promise<Row[]>;
type Header = readonly [position: Position, eventId: string, parts: number, digest: string];

/** Parts that are read at once. */
const PAGE = 64;

/** Snapshots in the app's schema. Those that nobody has written or loaded for a week go. */
export class PostgresSnapshots implements Snapshots {
  private readonly schema: string;
  private readonly link: Link;
  private prepared: Promise<void> | undefined;
  /** The connection has one transaction at a time. */
  private turn: Promise<unknown> = Promise.resolve();

  constructor({ url, schema }: PostgresSnapshotsOptions) {
    this.schema = pg.escapeIdentifier(schema);
    const settings = { synchronous_commit: 'off', idle_in_transaction_session_timeout: '15000' };
    this.link = new Link({ url, name: 'omnivisor snapshots', settings });
  }

  of(name: string, version: string): SnapshotStore {
    const key: Key = [name, version];
    return { load: () => this.load(key), save: (snapshot) => this.save(key, snapshot) };
  }

  /** Header and parts are read at one moment: another replica may save meanwhile. */
  private async load(key: Key): Promise<Snapshot | undefined> {
    await this.prepare();
    await this.renew(key);
    return this.transaction(async (run) => {
      const where = 'where name = $1 and version = $2';
      const [header] = await run<Header>(
        `select position, event_id, parts, digest from ${this.schema}.snapshot ${where}`,
        [...key],
      );
      if (!header) return undefined;
      const [position, eventId, count, digest] = header;
      const parts: string[] = [];
      const found = new Digest();
      while (parts.length < count) {
        const page = await run<[string]>(
          `select content from ${this.schema}.snapshot_part ${where} and part >= $3 order by part limit ${PAGE}`,
          [...key, parts.length],
        );
        if (page.length === 0) throw new SnapshotDamaged(`${parts.length} of ${count} parts are there`);
        for (const [part] of page) {
          found.add(part);
          parts.push(part);
        }
      }
      if (found.text() !== digest) throw new SnapshotDamaged('its digest is another one');
      return { position, eventId: eventId as EventId, parts };
    }, 'begin isolation level repeatable read read only');
  }

  /** Who holds the row is writing it, or drops it: neither is waited for. */
  private renew(key: Key): Promise<unknown> {
    return this.transaction((run) =>
      run(
        `update ${this.schema}.snapshot set written_at = now() where (name, version) in
           (select name, version from ${this.schema}.snapshot
            where name = $1 and version = $2 and written_at < now() - interval '1 day' for update skip locked)`,
        [...key],
      ),
    );
  }

  private async save(key: Key, { position, eventId, parts }: Snapshot): Promise<void> {
    await this.prepare();
    return this.transaction(async (run) => {
      const digest = new Digest();
      let count = 0;
      await run(
        `insert into ${this.schema}.snapshot (name, version, position, event_id, parts, digest)
         values ($1, $2, $3, $4, 0, '') on conflict (name, version) do update
         set position = excluded.position, event_id = excluded.event_id, written_at = now()`,
        [...key, position, eventId],
      );
      await run(
        `with old as (delete from ${this.schema}.snapshot where written_at < now() - interval '7 days' returning name, version)
         delete from ${this.schema}.snapshot_part p where (p.name, p.version) = ($1, $2)
           or (p.name, p.version) in (select name, version from old)`,
        [...key],
      );
      for (const part of parts) {
        digest.add(part);
        await run(`insert into ${this.schema}.snapshot_part values ($1, $2, $3, $4)`, [...key, count++, part]);
      }
      await run(`update ${this.schema}.snapshot set parts = $3, digest = $4 where name = $1 and version = $2`, [
        ...key,
        count,
        digest.text(),
      ]);
    });
  }

  close(): Promise<void> {
    return this.link.close();
  }

  /** Makes what is missing. */
  private prepare(): Promise<void> {
    this.prepared ??= this.transaction(async (run) => {
      // Two that start together would both find nothing.
      await run(`select pg_advisory_xact_lock(hashtextextended('omnivisor snapshot', 0))`);
      const [[exists] = [false]] = await run<[boolean]>('select to_regnamespace($1) is not null', [this.schema]);
      if (!exists) await run(`create schema ${this.schema}`);
      await run(
        `create table if not exists ${this.schema}.snapshot (name text, version text, position bigint not null,
          event_id text not null, parts integer not null, digest text not null,
          written_at timestamptz not null default now(), primary key (name, version))`,
      );
      await run(
        `create table if not exists ${this.schema}.snapshot_part (name text, version text, part integer,
          content text not null, primary key (name, version, part))`,
      );
    }).catch((error) => {
      this.prepared = undefined;
      throw error;
    });
    return this.prepared;
  }

  private transaction<T>(work: (run: Run) => Promise<T>, begin = 'begin'): Promise<T> {
    const done = this.turn.then(() => this.transactionNow(work, begin));
    this.turn = done.catch(() => {});
    return done;
  }

  private async transactionNow<T>(work: (run: Run) => Promise<T>, begin: string): Promise<T> {
    const transaction = this.link.pin();
    try {
      await transaction.query({ text: begin });
      try {
        const result = await work((text, values) =>
          transaction.query(values === undefined ? { text } : { text, values }),
        );
        await transaction.query({ text: 'commit' });
        return result;
      } catch (error) {
        await transaction.query({ text: 'rollback' }).catch(() => {});
        throw error;
      }
    } catch (error) {
      if (error instanceof ConnectionLost) throw unavailable('the snapshots cannot be reached', error);
      throw error;
    }
  }
}
