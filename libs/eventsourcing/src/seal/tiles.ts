import { LRUCache } from 'lru-cache';
import { type Hash, type HashSource, nodeHash } from './merkle.js';
import { SealBroken } from './seal-broken.js';

/** Levels of the tree that one level of tiles spans; a full tile has 2^8 hashes. As in C2SP tlog-tiles. */
export const TILE_HEIGHT = 8;
export const TILE_WIDTH = 2 ** TILE_HEIGHT;
export const HASH_BYTES = 32;

/** Hashes of neighbours: those of tree level `level * 8` from `index * 256` on. Only the rightmost tile of a level is not full. */
export interface Tile {
  readonly level: number;
  readonly index: number;
  /** 32 bytes each. */
  readonly hashes: Buffer;
}

export type TileReader = (level: number, index: number) => Promise<Buffer | undefined>;

const CACHED = 256;

/** The tree as tiles have it. */
export class TileSource implements HashSource {
  private readonly cache = new LRUCache<string, Buffer>({ max: CACHED });

  constructor(private readonly read: TileReader) {}

  /** @throws SealBroken when no tile has it */
  async hash(level: number, index: number): Promise<Hash> {
    const tileLevel = Math.floor(level / TILE_HEIGHT);
    const within = level % TILE_HEIGHT;
    const width = 2 ** within;
    const first = index * width;
    const tile = await this.tile(tileLevel, Math.floor(first / TILE_WIDTH), (first % TILE_WIDTH) + width);
    let hashes = Array.from({ length: width }, (_, i) => {
      const at = ((first % TILE_WIDTH) + i) * HASH_BYTES;
      return tile.subarray(at, at + HASH_BYTES);
    });
    while (hashes.length > 1)
      hashes = Array.from({ length: hashes.length / 2 }, (_, i) => nodeHash(hashes[2 * i]!, hashes[2 * i + 1]!));
    return hashes[0]!;
  }

  private async tile(level: number, index: number, width: number): Promise<Buffer> {
    const key = `${level}/${index}`;
    const known = this.cache.get(key);
    if (known && known.length >= width * HASH_BYTES) return known;
    const tile = await this.read(level, index);
    if (!tile || tile.length < width * HASH_BYTES)
      throw new SealBroken(`the seals have no hash ${width} of tile ${key}`);
    this.cache.set(key, tile);
    return tile;
  }
}

/** Gathers the hashes that a growing tree completes into tiles. */
export class TileWriter {
  private readonly open = new Map<number, { index: number; hashes: Buffer[] }>();
  private full: Tile[] = [];
  private readonly touched = new Set<number>();

  /** Takes up the rightmost tiles of a tree of `size` leaves. @throws SealBroken when one is not there */
  static async of(read: TileReader, size: number): Promise<TileWriter> {
    const writer = new TileWriter();
    for (let level = 0, count = size; count > 0; level++, count = Math.floor(count / TILE_WIDTH)) {
      const width = count % TILE_WIDTH;
      if (width === 0) continue;
      const index = Math.floor(count / TILE_WIDTH);
      const tile = await read(level, index);
      if (!tile || tile.length < width * HASH_BYTES) throw new SealBroken(`the seals have no tile ${level}/${index}`);
      writer.open.set(level, {
        index,
        hashes: Array.from({ length: width }, (_, i) => tile.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES)),
      });
    }
    return writer;
  }

  /** The subtree at `(level, index)` is complete. */
  add(level: number, index: number, hash: Hash): void {
    if (level % TILE_HEIGHT !== 0) return;
    const tileLevel = level / TILE_HEIGHT;
    const tile = this.open.get(tileLevel) ?? { index: Math.floor(index / TILE_WIDTH), hashes: [] };
    tile.hashes.push(hash);
    this.touched.add(tileLevel);
    if (tile.hashes.length < TILE_WIDTH) {
      this.open.set(tileLevel, tile);
      return;
    }
    this.full.push({ level: tileLevel, index: tile.index, hashes: Buffer.concat(tile.hashes) });
    this.open.delete(tileLevel);
  }

  /** Tiles that changed since the last call. */
  take(): Tile[] {
    const tiles = this.full;
    for (const level of this.touched) {
      const tile = this.open.get(level);
      if (tile) tiles.push({ level, index: tile.index, hashes: Buffer.concat(tile.hashes) });
    }
    this.full = [];
    this.touched.clear();
    return tiles;
  }
}
