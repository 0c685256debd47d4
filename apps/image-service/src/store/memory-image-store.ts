import { Readable } from 'node:stream';
import { conflict, notFound } from '@omnivisor/contracts';
import { type ByteRange, type ImageStore, type ImageWriter, type StoredBlob, StoreFull } from './image-store.js';

/** Image bytes in memory, for specs and simulation. `capacity` in bytes stands for a disk that fills up. */
export class MemoryImageStore implements ImageStore {
  private readonly blobs = new Map<string, { chunks: Buffer[]; complete: boolean; writtenAt: number }>();

  constructor(
    private readonly capacity = Number.POSITIVE_INFINITY,
    private readonly now: () => number = Date.now,
  ) {}

  async begin(key: string, declared = 0): Promise<ImageWriter> {
    if (this.blobs.has(key)) throw conflict(`blob ${key} exists`);
    if (this.used() + declared > this.capacity) throw new StoreFull();
    const blob = { chunks: [] as Buffer[], complete: false, writtenAt: this.now() };
    this.blobs.set(key, blob);
    return {
      write: async (chunk) => {
        if (this.used() + chunk.length > this.capacity) throw new StoreFull();
        blob.chunks.push(Buffer.from(chunk));
        blob.writtenAt = this.now();
      },
      commit: async () => {
        blob.complete = true;
      },
      abort: async () => {
        if (!blob.complete) this.blobs.delete(key);
      },
    };
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
    for (const { chunks } of this.blobs.values()) for (const chunk of chunks) sum += chunk.length;
    return sum;
  }
}
