import { Readable } from 'node:stream';
import type { ReadableStream } from 'node:stream/web';
import { createGunzip } from 'node:zlib';
import { Decompress } from 'fzstd';
import xzDecompress from 'xz-decompress';
import { Unreadable } from './disk.js';
import { lz4Legacy } from './lz4.js';

export type Bytes = AsyncIterable<Buffer>;

/** The largest dictionary that is made room for: 128 MiB, the most that any tool's highest level asks for. */
const MAX_WINDOW = 128 * 1024 * 1024;

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

/** @throws Unreadable for a window that nobody should make room for */
const assertZstdWindow = (head: Buffer): void => {
  const descriptor = head[4] ?? 0;
  // A frame in one segment has no window but its content.
  if (descriptor & 0x20) return;
  const byte = head[5] ?? 0;
  const base = 2 ** (10 + (byte >> 3));
  if (base + (base / 8) * (byte & 7) > MAX_WINDOW) throw new Unreadable('its compressed data needs too much memory');
};

async function* zstd(bytes: Bytes): Bytes {
  const ready: Uint8Array[] = [];
  const decompress = new Decompress((chunk) => {
    if (chunk.length > 0) ready.push(chunk);
  });
  let first = true;
  for await (const chunk of bytes) {
    if (first) assertZstdWindow(chunk);
    first = false;
    // Small pieces, so that what one of them gives can be taken away before the next.
    for (let at = 0; at < chunk.length; at += 16_384) {
      try {
        decompress.push(chunk.subarray(at, at + 16_384));
      } catch (error) {
        throw damaged(error);
      }
      for (const part of ready.splice(0)) yield Buffer.from(part.buffer, part.byteOffset, part.length);
    }
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
  ['28b52ffd', zstd],
  ['fd377a585a00', xz],
  ['02214c18', (bytes) => foreseen(lz4Legacy(bytes))],
];

/** What begins with these bytes, decompressed; undefined when it is in no format that is known. */
export const decompressed = (head: Buffer, bytes: Bytes): Bytes | undefined =>
  FORMATS.find(([magic]) => head.subarray(0, magic.length / 2).toString('hex') === magic)?.[1](bytes);
