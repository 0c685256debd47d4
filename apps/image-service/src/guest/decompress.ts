import { Readable } from 'node:stream';
import type { ReadableStream } from 'node:stream/web';
import { createGunzip } from 'node:zlib';
import xzDecompress from 'xz-decompress';
import { DiskFailed, Unreadable } from './disk.js';
import { lz4Legacy } from './lz4.js';
import { damaged, Source } from './source.js';
import { zstd } from './zstd.js';

export type Bytes = AsyncIterable<Buffer>;

/** The longest header of a stream, and of the block behind it. */
const XZ_HEADERS = 12 + 1_024;

/** What decoders throw says of the bytes that they are damaged; what comes from below goes on as it is. */
async function* foreseen(bytes: AsyncIterable<Buffer | Uint8Array>): Bytes {
  try {
    for await (const chunk of bytes) yield Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk);
  } catch (error) {
    throw error instanceof Unreadable || error instanceof DiskFailed ? error : damaged(error);
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
  const source = new Source(bytes);
  const input = Readable.from(source.remainder());
  try {
    assertXzDictionary(await source.peek(XZ_HEADERS));
    const packed = Readable.toWeb(input) as ReadableStream<Uint8Array>;
    const output = new xzDecompress.XzReadableStream(packed as never) as unknown as ReadableStream<Uint8Array>;
    yield* foreseen(output as unknown as AsyncIterable<Uint8Array>);
  } finally {
    input.destroy();
    await source.close();
  }
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
