import type { Checkpoint } from './checkpoint.js';
import { SealBroken } from './seal-broken.js';
import type { SealStore } from './seal-store.js';
import type { Tile } from './tiles.js';

/** Seals in memory, for specs and simulation. */
export class MemorySealStore implements SealStore {
  /** In order of size. */
  readonly kept: Checkpoint[] = [];
  readonly tiles = new Map<string, Buffer>();

  async latest(): Promise<Checkpoint | undefined> {
    return this.kept.at(-1);
  }

  async checkpoints(size: number, limit: number): Promise<Checkpoint[]> {
    return this.kept.filter((c) => c.size > size).slice(0, limit);
  }

  async upTo(by: 'size' | 'position', limit: number): Promise<Checkpoint | undefined> {
    return this.kept.findLast((c) => c[by] <= limit);
  }

  async tile(level: number, index: number): Promise<Buffer | undefined> {
    return this.tiles.get(`${level}/${index}`);
  }

  async seal(checkpoint: Checkpoint, tiles: readonly Tile[]): Promise<void> {
    for (const { level, index, hashes } of tiles) {
      const kept = this.tiles.get(`${level}/${index}`) ?? Buffer.alloc(0);
      const common = Math.min(kept.length, hashes.length);
      if (!kept.subarray(0, common).equals(hashes.subarray(0, common))) throw new SealBroken(brokenTile(level, index));
    }
    for (const { level, index, hashes } of tiles)
      if (hashes.length > (this.tiles.get(`${level}/${index}`)?.length ?? 0))
        this.tiles.set(`${level}/${index}`, hashes);
    if (this.kept.some((c) => c.size === checkpoint.size)) return;
    this.kept.push(checkpoint);
    this.kept.sort((a, b) => a.size - b.size);
  }

  async close(): Promise<void> {}
}

export const brokenTile = (level: number, index: number): string =>
  `tile ${level}/${index} does not go on from what was sealed`;
