import { Readable } from 'node:stream';
import { conflict, notFound } from '@omnivisor/contracts';
import { type ByteRange, type ImageStore, type ImageWriter, type StoredBlob, StoreFull } from './image-store.js';

/** Image bytes in memory, for specs and simulation. `capacity` in bytes stands for a disk that fills up. */
export class MemoryImageStore implements ImageStore {
  private readonly blobs = new Map<string, { chunks: Buffer[]; complete: boolean; writtenAt: number }>();
  private readonly held = new Map<string, number>();

  constructor(
    private readonly capacity = Number.POSITIVE_INFINITY,
    private readonly now: () => number = Date.now,
  ) {}

  async begin(key: string, declared = 0, held = false): Promise<ImageWriter> {
    if (this.blobs.has(key)) throw conflict(`blob ${key} exists`);
    if (declared > (await this.free())) throw new StoreFull();
    if (held) this.held.set(key, declared);
    const blob = { chunks: [] as Buffer[], complete: false, writtenAt: this.now() };
    this.blobs.set(key, blob);
    return {
      write: async (chunk) => {
        const most = held ? declared : this.capacity;
        if (this.used() + chunk.length > this.capacity || this.written(key) + chunk.length > most)
          throw new StoreFull();
        blob.chunks.push(Buffer.from(chunk));
        blob.writtenAt = this.now();
      },
      commit: async () => {
        blob.complete = true;
        this.held.delete(key);
      },
      abort: async () => {
        this.held.delete(key);
        if (!blob.complete) this.blobs.delete(key);
      },
    };
  }

  async free(): Promise<number> {
    let held = 0;
    for (const [key, bytes] of this.held) held += Math.max(0, bytes - this.written(key));
    return this.capacity - this.used() - held;
  }

  async read(key: string, range?: ByteRange): Promise<Readable> {
    const blob = this.blobs.get(key);
    if (!blob?.complete) throw notFound(`no blob ${key}`);
    const bytes = Buffer.concat(blob.chunks);
    return Readable.from(range ? [bytes.subarray(range.start, range.end + 1)] : [bytes]);
  }

  async size(key: string): Promise<number | null> {
    const blob = this.blobs.get(key);
    return blob?.complete ? blob.chunks.reduce((sum, c) => sum + c.length, 0) : null;
  }

  async remove(key: string): Promise<void> {
    this.blobs.delete(key);
    this.held.delete(key);
  }

  async *list(): AsyncIterable<StoredBlob> {
    for (const [key, { complete, writtenAt }] of [...this.blobs]) yield { key, complete, writtenAt };
  }

  async touch(key: string): Promise<void> {
    const blob = this.blobs.get(key);
    if (blob) blob.writtenAt = this.now();
  }

  async openFile(): Promise<null> {
    return null;
  }

  private used(): number {
    let sum = 0;
    for (const key of this.blobs.keys()) sum += this.written(key);
    return sum;
  }

  private written(key: string): number {
    return this.blobs.get(key)?.chunks.reduce((sum, chunk) => sum + chunk.length, 0) ?? 0;
  }
}
