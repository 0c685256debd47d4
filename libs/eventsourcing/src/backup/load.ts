import { invalid } from '@omnivisor/contracts';
import pg from 'pg';
import { HASH_BYTES, TILE_WIDTH } from '../seal/tiles.js';
import { vaultTable } from '../vault/postgres-vault.js';
import type { CheckpointLine, EventLine, Lines, SecretLine, TileLine } from './rows.js';

/** Up to where: a position of the log, or a time in milliseconds since 1970; all of it when not given. */
export type UpTo = { readonly position: number } | { readonly time: number };

export interface Loaded {
  /** Of the newest event that was taken. */
  readonly position: number;
  readonly recordedAt: string;
  /** Events that were left out. */
  readonly cut: number;
  readonly checkpoints: number;
  readonly secrets: number;
}

export interface LoadOptions {
  /** The owner of an empty log, as `migrate` leaves it. */
  readonly owner: string;
  /** Login of the service that owns the vault, and its schema. */
  readonly service: string;
  readonly schema: string;
  readonly upTo?: UpTo;
}

const BATCH = 1_000;

/** What follows is about the past of the database only: a restore that fails is begun anew with an empty one. */
const connected = async <T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> => {
  const client = new pg.Client({ connectionString: url, application_name: 'omnivisor restore' });
  client.on('error', () => {}); // the query under way says so
  await client.connect();
  try {
    await client.query('begin');
    const result = await work(client);
    await client.query('commit');
    return result;
  } finally {
    await client.end();
  }
};

const insert = async <Row>(
  client: pg.Client,
  text: string,
  rows: AsyncIterable<Row>,
  columns: (row: Row) => readonly unknown[],
): Promise<number> => {
  let count = 0;
  let batch: (readonly unknown[])[] = [];
  const send = async () => {
    const [first] = batch;
    if (!first) return;
    await client.query(
      text,
      first.map((_, column) => batch.map((values) => values[column])),
    );
    count += batch.length;
    batch = [];
  };
  for await (const row of rows) {
    batch.push(columns(row));
    if (batch.length === BATCH) await send();
  }
  await send();
  return count;
};

/** The events up to a moment: no hole in them, and no command of which they would have a part only. */
class Cut {
  position = 0;
  time = 0;
  left = 0;
  private ended = false;
  private rest = 0;

  constructor(private readonly upTo: UpTo | undefined) {}

  async *of(events: AsyncIterable<EventLine>): AsyncIterable<EventLine> {
    let seen = 0;
    for await (const event of events) {
      if (event.position !== ++seen) throw invalid(`the backup has no event at position ${seen}, but later ones`);
      if (this.rest === 0) {
        this.rest = event.size ?? 1;
        this.ended ||= this.isBeyond(event, event.position + this.rest - 1);
      }
      this.rest--;
      if (this.ended) {
        this.left++;
        continue;
      }
      this.position = event.position;
      this.time = event.at;
      yield event;
    }
    if (this.upTo && 'position' in this.upTo && this.upTo.position > seen)
      throw invalid(`the backup ends at position ${seen}`);
    if (this.position === 0) throw invalid('the backup has no event that is as old as that');
  }

  private isBeyond({ at }: EventLine, last: number): boolean {
    if (!this.upTo) return false;
    return 'position' in this.upTo ? last > this.upTo.position : at > this.upTo.time;
  }
}

async function* only<Row>(rows: AsyncIterable<Row>, take: (row: Row) => Row | undefined): AsyncIterable<Row> {
  for await (const row of rows) {
    const taken = take(row);
    if (taken !== undefined) yield taken;
  }
}

/** What a tree of `size` leaves has of a tile. */
const tileAt = ({ level, index, hashes }: TileLine, size: number): TileLine | undefined => {
  const count = Math.floor(size / TILE_WIDTH ** level) - index * TILE_WIDTH;
  if (count <= 0) return undefined;
  const bytes = Buffer.from(hashes, 'base64').subarray(0, count * HASH_BYTES);
  return { level, index, hashes: bytes.toString('base64') };
};

/** Puts a backup into an empty database, with its seals as far as they go. @throws DomainError `invalid` */
export const loadDatabase = async (lines: Lines, { owner, service, schema, upTo }: LoadOptions): Promise<Loaded> => {
  const cut = new Cut(upTo);
  let sealed = 0;
  const checkpoints = await connected(owner, async (client) => {
    const { rowCount } = await client.query('select 1 from log.event limit 1');
    if (rowCount) throw invalid('the database has a log already');
    await insert<EventLine>(
      client,
      `insert into log.event (position, stream, revision, id, type, command_id, size, payload, meta, recorded_at)
       select p, s, r, i, t, c, z, d, m, to_timestamp(a / 1000.0)
       from unnest($1::bigint[], $2::text[], $3::bigint[], $4::uuid[], $5::text[], $6::text[], $7::int[], $8::text[], $9::text[], $10::bigint[])
         as u(p, s, r, i, t, c, z, d, m, a)`,
      cut.of(lines.events),
      (e) => [e.position, e.stream, e.revision, e.id, e.type, e.command, e.size, e.payload, e.meta, e.at],
    );
    await client.query('update log.head set position = $1, recorded_at = to_timestamp($2 / 1000.0)', [
      cut.position,
      cut.time,
    ]);
    const kept = only(lines.checkpoints, (line) => {
      if (line.position > cut.position) return undefined;
      sealed = line.size;
      return line;
    });
    const count = await insert<CheckpointLine>(
      client,
      'insert into log.checkpoint (size, position, note) select * from unnest($1::bigint[], $2::bigint[], $3::text[])',
      kept,
      ({ size, position, note }) => [size, position, note],
    );
    await insert<TileLine>(
      client,
      `insert into log.tile (level, index, hashes)
       select l, i, decode(h, 'base64') from unnest($1::int[], $2::bigint[], $3::text[]) as u(l, i, h)`,
      only(lines.tiles, (tile) => tileAt(tile, sealed)),
      ({ level, index, hashes }) => [level, index, hashes],
    );
    return count;
  });
  const secrets = await connected(service, async (client) => {
    await client.query(vaultTable(pg.escapeIdentifier(schema)));
    return insert<SecretLine>(
      client,
      `insert into ${pg.escapeIdentifier(schema)}.vault (ref, kind, key_id, nonce, body, created_at)
       select r, k, i, decode(n, 'base64'), decode(b, 'base64'), to_timestamp(a / 1000.0)
       from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[]) as u(r, k, i, n, b, a)`,
      lines.secrets,
      ({ ref, kind, keyId, nonce, body, at }) => [ref, kind, keyId, nonce, body, at],
    );
  });
  const { position, left } = cut;
  return { position, recordedAt: new Date(cut.time).toISOString(), cut: left, checkpoints, secrets };
};
