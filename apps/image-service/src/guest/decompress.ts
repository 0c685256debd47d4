import { Readable } from 'node:stream';
import type { ReadableStream } from 'node:stream/web';
import { createGunzip } from 'node:zlib';
import xzDecompress from 'xz-decompress';
import { Unreadable } from './disk.js';
import { lz4Legacy } from './lz4.js';
import { zstd } from './zstd.js';

export type Bytes = AsyncIterable<Buffer>;

const damaged = (cause: unknown): Unreadable => {
  const error = new Unreadable('its compressed data is damaged');
  error.cause = cause;
  return error;
};

async function* foreseen(bytes: AsyncIterable<Buffer | Uint8Array>): Bytes {
  try {
    for await (const chunk of bytes) yield Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk);
  } catch (error) {
    throw error instanceof Unreadable ? error : damaged(error);
  }
}

async function* gzip(bytes: Bytes): Bytes {
  const source = Readable.from(bytes);
  const gunzip = createGunzip();
  source.once('error', (error) => gunzip.destroy(error));
  try {
    yield* foreseen(source.pipe(gunzip));
  } finally {
    source.destroy();
    gunzip.destroy();
  }
}

/** @throws Unreadable for a dictionary that nobody should make room for */
const assertXzDictionary = (head: Buffer): void => {
  const flags = head[13] ?? 0;
  let at = 14;
  for (const present of [flags & 0x40, flags & 0x80]) if (present) while ((head[at++] ?? 0) & 0x80);
  // Filters come one after the other: id, size of the properties, properties. LZMA2 is the last one.
  for (let filters = (flags & 3) + 1; filters > 0; filters--) {
    const id = head[at] ?? 0;
    const size = head[at + 1] ?? 0;
    if (id === 0x21 && (head[at + 2] ?? 0) > 30) throw new Unreadable('its compressed data needs too much memory');
    at += 2 + size;
  }
};

async function* xz(bytes: Bytes): Bytes {
  const iterator = bytes[Symbol.asyncIterator]();
  const { value: head } = await iterator.next();
  if (!head) return;
  assertXzDictionary(head);
  const whole = async function* () {
    yield head;
    for (let next = await iterator.next(); !next.done; next = await iterator.next()) yield next.value;
  };
  const source = Readable.toWeb(Readable.from(whole())) as ReadableStream<Uint8Array>;
  const output = new xzDecompress.XzReadableStream(source as never) as unknown as ReadableStream<Uint8Array>;
  yield* foreseen(output as unknown as AsyncIterable<Uint8Array>);
}

const FORMATS: readonly (readonly [magic: string, open: (bytes: Bytes) => Bytes])[] = [
  ['1f8b', gzip],
  ['28b52ffd', (bytes) => foreseen(zstd(bytes))],
  ['fd377a585a00', xz],
  ['02214c18', (bytes) => foreseen(lz4Legacy(bytes))],
];

/** What begins with these bytes, decompressed; undefined when it is in no format that is known. */
export const decompressed = (head: Buffer, bytes: Bytes): Bytes | undefined =>
  FORMATS.find(([magic]) => head.subarray(0, magic.length / 2).toString('hex') === magic)?.[1](bytes);
