import { type Position, unavailable } from '@omnivisor/contracts';
import pg from 'pg';
import { ConnectionLost, Link, type Statement } from '../postgres/link.js';
import type { Checkpoint } from './checkpoint.js';
import { SealBroken } from './seal-broken.js';
import type { SealStore } from './seal-store.js';
import type { Tile } from './tiles.js';

type Row = readonly [size: number, position: Position, note: string];
const COLUMNS = 'size, position, note';
const checkpointOf = ([size, position, note]: Row): Checkpoint => ({ size, position, note });
/** What `log.seal` answers when a tile is not the one that was sealed. */
const DATA_CORRUPTED = 'XX001';

/** Seals beside the log: a service may add to them by `log.seal`, and take nothing back. */
export class PostgresSealStore implements SealStore {
  private readonly link: Link;

  constructor(url: string) {
    // A seal that is lost with the power is made again: the events that it covers were durable before, and give the same.
    this.link = new Link({ url, name: 'omnivisor seals', pipeline: true, settings: { synchronous_commit: 'off' } });
  }

  async latest(): Promise<Checkpoint | undefined> {
    return this.one({ name: 'latest', text: `select ${COLUMNS} from log.checkpoint order by size desc limit 1` });
  }

  async checkpoints(size: number, limit: number): Promise<Checkpoint[]> {
    const text = `select ${COLUMNS} from log.checkpoint where size > $1 order by size limit $2`;
    return (await this.read<Row>({ name: 'checkpoints', text, values: [size, limit] })).map(checkpointOf);
  }

  async upTo(by: 'size' | 'position', limit: number): Promise<Checkpoint | undefined> {
    const text = `select ${COLUMNS} from log.checkpoint where ${by} <= $1 order by ${by} desc limit 1`;
    return this.one({ name: `up to ${by}`, text, values: [limit] });
  }

  async tile(level: number, index: number): Promise<Buffer | undefined> {
    const [row] = await this.read<[string]>({
      name: 'tile',
      text: `select encode(hashes, 'base64') from log.tile where level = $1 and index = $2`,
      values: [level, index],
    });
    return row && Buffer.from(row[0], 'base64');
  }

  async seal({ size, position, note }: Checkpoint, tiles: readonly Tile[]): Promise<void> {
    try {
      await this.read({
        name: 'seal',
        text: 'select log.seal($1, $2, $3, $4, $5, $6)',
        values: [
          size,
          position,
          note,
          tiles.map((t) => t.level),
          tiles.map((t) => t.index),
          tiles.map((t) => t.hashes),
        ],
      });
    } catch (error) {
      if (error instanceof pg.DatabaseError && error.code === DATA_CORRUPTED) throw new SealBroken(error.message);
      throw error;
    }
  }

  close(): Promise<void> {
    return this.link.close();
  }

  private async one(statement: Statement): Promise<Checkpoint | undefined> {
    const [row] = await this.read<Row>(statement);
    return row && checkpointOf(row);
  }

  /** Sealing twice is harmless, as reading is. */
  private async read<R extends readonly unknown[]>(statement: Statement): Promise<R[]> {
    try {
      return await this.link.repeatable<R>(statement);
    } catch (error) {
      if (error instanceof ConnectionLost) throw unavailable('the seals cannot be reached', error);
      throw error;
    }
  }
}
