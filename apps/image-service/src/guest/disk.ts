import { LRUCache } from 'lru-cache';

/** Bytes of a disk as its guest sees them. */
export interface Disk {
  readonly size: number;
  /** Exactly `length` bytes. @throws for a stretch that is not on the disk */
  read(offset: number, length: number): Promise<Buffer>;
}

/** What is on the disk does not allow to go on: damaged, encrypted, unknown, or without end. Fit for the caller. */
export class Unreadable extends Error {}

/** The look ended before it was done; another may do better. Fit for the caller, too. */
export class Unfinished extends Unreadable {}

/** The bytes could not be had, which says nothing of what is on the disk: another look may do better. */
export class DiskFailed extends Error {}

export interface ReadLimits {
  /** Bytes read from the disk. */
  readonly bytes: number;
  readonly reads: number;
}

const PAGE = 64 * 1024;
const PAGES = 128;

/**
 * Reads within limits, so that a disk made to go round in circles comes to an end. Small reads come out of whole pages
 * that are kept for a while: about 8 MiB. It throws `Unreadable` or `DiskFailed`, and nothing else.
 */
export class BoundedDisk implements Disk {
  private readonly pages = new LRUCache<number, Buffer>({ max: PAGES });
  private bytes = 0;
  private reads = 0;

  constructor(
    private readonly disk: Disk,
    private readonly limits: ReadLimits,
  ) {}

  get size(): number {
    return this.disk.size;
  }

  async read(offset: number, length: number): Promise<Buffer> {
    if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length < 0)
      throw new Unreadable('it points to no place on the disk');
    if (offset + length > this.size) throw new Unreadable('it points beyond the end of the disk');
    this.count(0);
    if (length > PAGE) return this.direct(offset, length);
    const first = Math.floor(offset / PAGE);
    const last = Math.floor((offset + Math.max(1, length) - 1) / PAGE);
    const parts: Buffer[] = [];
    for (let page = first; page <= last; page++) parts.push(await this.page(page));
    return Buffer.concat(parts).subarray(offset - first * PAGE, offset - first * PAGE + length);
  }

  private async page(number: number): Promise<Buffer> {
    const known = this.pages.get(number);
    if (known) return known;
    const page = await this.direct(number * PAGE, Math.min(PAGE, this.size - number * PAGE));
    this.pages.set(number, page);
    return page;
  }

  private async direct(offset: number, length: number): Promise<Buffer> {
    this.count(length);
    try {
      return await this.disk.read(offset, length);
    } catch (error) {
      if (error instanceof Unreadable) throw error;
      throw new DiskFailed(`reading ${length} bytes of the disk at ${offset}`, { cause: error });
    }
  }

  private count(length: number): void {
    this.bytes += length;
    this.reads++;
    if (this.bytes > this.limits.bytes || this.reads > this.limits.reads)
      throw new Unreadable('it takes too much reading');
  }
}

/** A stretch of a disk as a disk of its own. */
export const stretchOf = (disk: Disk, offset: number, size: number): Disk => ({
  size,
  read: (at, length) => {
    if (!(at >= 0 && length >= 0 && at + length <= size)) throw new Unreadable('it points beyond its partition');
    return disk.read(offset + at, length);
  },
});

/** Bytes in memory as a disk, for specs. */
export const diskOf = (bytes: Buffer): Disk => ({
  size: bytes.length,
  read: async (offset, length) => bytes.subarray(offset, offset + length),
});
