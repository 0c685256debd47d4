import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, opendir, rename, stat, statfs, unlink, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { conflict, notFound, unavailable } from '@omnivisor/contracts';
import { type ByteRange, type ImageStore, type ImageWriter, type StoredBlob, StoreFull } from './image-store.js';

const KEY = /^[0-9a-f][0-9a-f-]{7,63}$/;
const PART = '.part';
const READ_CHUNK = 256 * 1024;
/** Bytes that stay free for the rest of the machine. */
const RESERVE = 64 * 1024 * 1024;
/** What `stat` counts blocks in. */
const SECTOR = 512;

const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException).code;
const translated = (error: unknown): unknown => {
  const code = codeOf(error);
  if (code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG') return new StoreFull(error);
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS')
    return unavailable('Insufficient permissions on image storage media', error);
  return error;
};

const missing = async <T>(work: Promise<T>): Promise<T | null> => {
  try {
    return await work;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return null;
    throw translated(error);
  }
};

const syncFolder = async (path: string): Promise<void> => {
  const folder = await open(path, constants.O_RDONLY);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
};

/** Image bytes in a folder: `<folder>/blobs/<two digits>/<key>`, and `<folder>/incoming` while they arrive. */
export class FileImageStore implements ImageStore {
  /** Bytes that stay free for what is being written. */
  private readonly held = new Map<string, number>();

  private constructor(private readonly folder: string) {}

  static async open(folder: string): Promise<FileImageStore> {
    await mkdir(join(folder, 'incoming'), { recursive: true, mode: 0o700 });
    await mkdir(join(folder, 'blobs'), { recursive: true, mode: 0o700 });
    return new FileImageStore(folder);
  }

  async begin(key: string, declared = 0, held = false): Promise<ImageWriter> {
    if (this.held.has(key)) throw conflict(`blob ${key} is being written`);
    // Counted before it is asked for, so that two do not both get the same room.
    if (held) this.held.set(key, declared);
    try {
      if (declared > 0 && (await this.free()) < (held ? 0 : declared)) throw new StoreFull();
      if ((await this.size(key)) !== null) throw conflict(`blob ${key} exists`);
      const file = await open(this.part(key), 'wx+', 0o600);
      return new FileWriter(file, this.part(key), this.path(key), held ? declared : Number.POSITIVE_INFINITY, () =>
        this.held.delete(key),
      );
    } catch (error) {
      this.held.delete(key);
      throw codeOf(error) === 'EEXIST' ? conflict(`blob ${key} is being written`) : translated(error);
    }
  }

  async free(): Promise<number> {
    const { bavail, bsize } = await statfs(this.folder);
    let free = bavail * bsize - RESERVE;
    for (const [key, bytes] of this.held) {
      const written = await missing(stat(this.part(key)));
      free -= Math.max(0, bytes - (written?.blocks ?? 0) * SECTOR);
    }
    return free;
  }

  async read(key: string, range?: ByteRange): Promise<Readable> {
    const file = await missing(open(this.path(key), 'r'));
    if (!file) throw notFound(`no blob ${key}`);
    return file.createReadStream({ highWaterMark: READ_CHUNK, ...(range ?? {}) });
  }

  async size(key: string): Promise<number | null> {
    return (await missing(stat(this.path(key))))?.size ?? null;
  }

  async remove(key: string): Promise<void> {
    await missing(unlink(this.part(key)));
    await missing(unlink(this.path(key)));
  }

  async *list(): AsyncIterable<StoredBlob> {
    for await (const entry of await opendir(join(this.folder, 'incoming')))
      if (entry.name.endsWith(PART)) yield* this.entry(entry.name.slice(0, -PART.length), false);
    for await (const shard of await opendir(join(this.folder, 'blobs')))
      for await (const entry of await opendir(join(this.folder, 'blobs', shard.name)))
        yield* this.entry(entry.name, true);
  }

  async touch(key: string): Promise<void> {
    const now = new Date();
    for (const path of [this.part(key), this.path(key)]) await missing(utimes(path, now, now));
  }

  async openFile(key: string): Promise<FileHandle> {
    const file = await missing(open(this.path(key), 'r'));
    if (!file) throw notFound(`no blob ${key}`);
    return file;
  }

  private async *entry(key: string, complete: boolean): AsyncIterable<StoredBlob> {
    if (!KEY.test(key)) return;
    const found = await missing(stat(complete ? this.path(key) : this.part(key)));
    if (found) yield { key, complete, writtenAt: found.mtimeMs };
  }

  private part(key: string): string {
    return join(this.folder, 'incoming', `${checked(key)}${PART}`);
  }

  private path(key: string): string {
    return join(this.folder, 'blobs', checked(key).slice(0, 2), key);
  }
}

const checked = (key: string): string => {
  if (!KEY.test(key)) throw new Error('malformed blob key');
  return key;
};

class FileWriter implements ImageWriter {
  private open = true;

  constructor(
    readonly file: FileHandle,
    private readonly from: string,
    private readonly to: string,
    /** Bytes that it may take. */
    private left: number,
    private readonly onClosed: () => void,
  ) {}

  async write(chunk: Buffer): Promise<void> {
    this.left -= chunk.length;
    if (this.left < 0) throw new StoreFull();
    try {
      for (let done = 0; done < chunk.length; ) {
        const { bytesWritten } = await this.file.write(chunk, done);
        done += bytesWritten;
      }
    } catch (error) {
      throw translated(error);
    }
  }

  async commit(): Promise<void> {
    try {
      await this.file.sync();
      await this.close();
      const shard = join(this.to, '..');
      await mkdir(shard, { recursive: true, mode: 0o700 });
      await rename(this.from, this.to);
      await syncFolder(shard);
      await syncFolder(join(shard, '..'));
    } catch (error) {
      throw translated(error);
    }
  }

  async abort(): Promise<void> {
    await this.close();
    await missing(unlink(this.from));
  }

  private async close(): Promise<void> {
    if (!this.open) return;
    this.open = false;
    this.onClosed();
    await this.file.close();
  }
}
