import pg from 'pg';
import type { CheckpointLine, EventLine, Lines, SecretLine, TileLine } from './rows.js';

const PAGE = 2_000;
const at = (column: string) => `(extract(epoch from ${column}) * 1000)::bigint`;

// Numbers of ours fit: positions and times are safe integers.
const types: pg.CustomTypesConfig = {
  getTypeParser: ((id: number, format?: 'text') =>
    id === pg.types.builtins.INT8 ? Number : pg.types.getTypeParser(id, format)) as never,
};

/**
 * Reads log, seals and vault as they are at one moment, beside whatever goes on.
 * @param url login of the service that owns the vault
 * @param schema of the vault
 */
export const dumpDatabase = async (
  url: string,
  schema: string,
  work: (lines: Lines) => Promise<void>,
): Promise<void> => {
  const client = new pg.Client({ connectionString: url, application_name: 'omnivisor backup', types });
  client.on('error', () => {}); // the query under way says so
  await client.connect();
  /** Page by page in the order of a key, so that no page is held longer than it is written. */
  async function* pages<Row extends object>(select: string, key: readonly (keyof Row & string)[], first: unknown[]) {
    for (let last = first; ; ) {
      const { rows } = await client.query<Row>(select, [...last, PAGE]);
      yield* rows;
      const end = rows.at(-1);
      if (!end || rows.length < PAGE) return;
      last = key.map((name) => end[name]);
    }
  }
  const vault = `${pg.escapeIdentifier(schema)}.vault`;
  const base64 = (column: string) => `encode(${column}, 'base64') as "${column}"`;
  try {
    await client.query('begin isolation level repeatable read read only');
    await work({
      events: pages<EventLine>(
        `select position, stream, revision, id, type, command_id as command, size, payload, meta, ${at('recorded_at')} as at
         from log.event where position > $1 order by position limit $2`,
        ['position'],
        [0],
      ),
      checkpoints: pages<CheckpointLine>(
        'select size, position, note from log.checkpoint where size > $1 order by size limit $2',
        ['size'],
        [0],
      ),
      tiles: pages<TileLine>(
        `select level, index, ${base64('hashes')} from log.tile where (level, index) > ($1, $2) order by 1, 2 limit $3`,
        ['level', 'index'],
        [-1, 0],
      ),
      secrets: pages<SecretLine>(
        `select ref, kind, key_id as "keyId", ${base64('nonce')}, ${base64('body')}, ${at('created_at')} as at
         from ${vault} where ref > $1 order by ref limit $2`,
        ['ref'],
        ['00000000-0000-0000-0000-000000000000'],
      ),
    });
    await client.query('commit');
  } finally {
    await client.end();
  }
};
