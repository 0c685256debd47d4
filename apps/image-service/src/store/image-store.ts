import type { FileHandle } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { DomainError } from '@omnivisor/contracts';

/** One upload on its way into the store. Nobody sees its bytes before `commit`. */
export interface ImageWriter {
  /** Takes the next bytes; resolves when there is room for more. @throws StoreFull */
  write(chunk: Buffer): Promise<void>;
  /** Makes the bytes durable and visible, all or none. @throws StoreFull */
  commit(): Promise<void>;
  /** Leaves nothing behind. Harmless after `commit`, and when done twice. */
  abort(): Promise<void>;
  /** The file behind it, for a tool that writes it in place of `write`; only where bytes lie in files. */
  readonly file?: FileHandle;
}

/** Bytes from `start` to `end`, both included. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

export interface StoredBlob {
  readonly key: string;
  /** False while it is being written, or when its writer died. */
  readonly complete: boolean;
  /** Milliseconds since 1970 of the last write, or of the last `touch`. */
  readonly writtenAt: number;
}

/**
 * Where image bytes are kept. A key names one upload and is never written twice. One behaviour suite runs over every
 * adapter.
 */
export interface ImageStore {
  /**
   * @param declared size in bytes if it is known, to refuse early what does not fit
   * @param held so much stays free for it until it is written, and more it does not get: others in this process do not get
   *   that room
   * @throws StoreFull; DomainError `conflict` for a key that is in use
   */
  begin(key: string, declared?: number, held?: boolean): Promise<ImageWriter>;
  /** Bytes that can still be written, without those that are held for others. */
  free(): Promise<number>;
  /** @throws DomainError `notFound` */
  read(key: string, range?: ByteRange): Promise<Readable>;
  /** Size in bytes; null when there is no such blob. */
  size(key: string): Promise<number | null>;
  /** Removes a blob, complete or not. What is not there stays so. */
  remove(key: string): Promise<void>;
  list(): AsyncIterable<StoredBlob>;
  /** Notes that a blob is in use, complete or not. What is not there stays so. */
  touch(key: string): Promise<void>;
  /**
   * The file of a blob for a tool of this machine, or null where bytes lie elsewhere. Close it.
   * @throws DomainError `notFound`
   */
  openFile(key: string): Promise<FileHandle | null>;
}

/** Shown to the caller by Glance's words. */
export class StoreFull extends DomainError {
  constructor(cause?: unknown) {
    super('tooLarge', 'Image storage media is full: There is not enough disk space on the image storage media.', {
      ...(cause === undefined ? {} : { cause }),
    });
  }
}
