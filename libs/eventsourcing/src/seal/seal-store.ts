import type { Checkpoint } from './checkpoint.js';
import type { Tile } from './tiles.js';

/** Where seals are kept: the tree's hashes as tiles, and every checkpoint. Nothing in it is ever taken back. */
export interface SealStore {
  /** The largest one; undefined before the first. */
  latest(): Promise<Checkpoint | undefined>;
  /** Checkpoints of more than `size` events, the smallest first. */
  checkpoints(size: number, limit: number): Promise<Checkpoint[]>;
  /** The newest of at most `limit` events, or up to the position `limit`. */
  upTo(by: 'size' | 'position', limit: number): Promise<Checkpoint | undefined>;
  tile(level: number, index: number): Promise<Buffer | undefined>;
  /**
   * Keeps a checkpoint and the tiles that are new with it, together. Two sealers may do so at once: both have sealed
   * the same log.
   * @throws SealBroken when a tile does not go on from what is kept: the log was changed under its seal
   */
  seal(checkpoint: Checkpoint, tiles: readonly Tile[]): Promise<void>;
  close(): Promise<void>;
}
