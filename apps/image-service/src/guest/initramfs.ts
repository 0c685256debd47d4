import { type Bytes, decompressed } from './decompress.js';
import { Unreadable } from './disk.js';

const HEADER = 110;
const MAX_UNPACKED = 768 * 1024 * 1024;
const MAX_ENTRIES = 100_000;
const MAX_NAME = 4_096;
const MAX_KEPT = 4 * 1024 * 1024;
const MAX_NESTED = 2;

/** What is asked of an initial RAM disk. */
export interface InitramfsReader {
  /** Told of each path; true for a file whose contents are wanted. */
  entry(path: string): boolean;
  contents(path: string, bytes: Buffer): void;
}

/** Bytes that can be taken in any portion, and handed on with what was taken back. */
class Source {
  private readonly iterator: AsyncIterator<Buffer>;
  private rest: Buffer = Buffer.alloc(0);
  at = 0;

  constructor(bytes: Bytes) {
    this.iterator = bytes[Symbol.asyncIterator]();
  }

  /** The next bytes without taking them; fewer at the end. */
  async peek(length: number): Promise<Buffer> {
    while (this.rest.length < length) {
      const next = await this.iterator.next();
      if (next.done) break;
      this.rest = this.rest.length === 0 ? next.value : Buffer.concat([this.rest, next.value]);
    }
    return this.rest.subarray(0, length);
  }

  async take(length: number): Promise<Buffer> {
    const bytes = await this.peek(length);
    if (bytes.length < length) throw new Unreadable('its initial RAM disk is cut off');
    this.rest = this.rest.subarray(length);
    this.at += length;
    return bytes;
  }

  async skip(length: number): Promise<void> {
    for (let left = length; left > 0; )
      left -= (await this.take(Math.min(left, Math.max(1, this.rest.length || 65_536)))).length;
  }

  /** Everything from here on. */
  async *remainder(): Bytes {
    if (this.rest.length > 0) yield this.rest;
    for (;;) {
      const next = await this.iterator.next();
      if (next.done) return;
      yield next.value;
    }
  }

  /** Ends what the bytes come from. */
  async close(): Promise<void> {
    await this.iterator.return?.();
  }
}

const limited = async function* (bytes: Bytes): Bytes {
  let size = 0;
  for await (const chunk of bytes) {
    size += chunk.length;
    if (size > MAX_UNPACKED) throw new Unreadable('its initial RAM disk is too large');
    yield chunk;
  }
};

const field = (header: Buffer, index: number): number => {
  const digits = header.toString('latin1', 6 + index * 8, 14 + index * 8);
  if (!/^[0-9a-f]{8}$/i.test(digits)) throw new Unreadable('its initial RAM disk is damaged');
  return Number.parseInt(digits, 16);
};

const align = (at: number): number => (4 - (at % 4)) % 4;

/** One archive in the format newc, up to its trailer. */
const readArchive = async (source: Source, reader: InitramfsReader, count: { entries: number }): Promise<void> => {
  const base = source.at;
  for (;;) {
    if (++count.entries > MAX_ENTRIES) throw new Unreadable('its initial RAM disk has too many files');
    const header = await source.take(HEADER);
    if (!/^07070[12]$/.test(header.toString('latin1', 0, 6))) throw new Unreadable('its initial RAM disk is damaged');
    const size = field(header, 6);
    const nameSize = field(header, 11);
    if (nameSize < 1 || nameSize > MAX_NAME) throw new Unreadable('its initial RAM disk is damaged');
    const name = (await source.take(nameSize)).toString('utf8', 0, nameSize - 1);
    await source.skip(align(source.at - base));
    if (name === 'TRAILER!!!') return;
    const path = name.replace(/^(\.?\/)+/, '');
    if (reader.entry(path) && size <= MAX_KEPT) reader.contents(path, Buffer.from(await source.take(size)));
    else await source.skip(size);
    await source.skip(align(source.at - base));
  }
};

const skipZeros = async (source: Source): Promise<boolean> => {
  for (;;) {
    const bytes = await source.peek(4);
    if (bytes.length === 0) return false;
    const zeros = bytes.findIndex((b) => b !== 0);
    if (zeros === 0) return true;
    await source.skip(zeros < 0 ? bytes.length : zeros);
  }
};

/**
 * Reads an initial RAM disk as the kernel does: archives one after the other, the last of them usually compressed.
 * @throws Unreadable
 */
export const readInitramfs = async (
  bytes: Bytes,
  reader: InitramfsReader,
  nested = 0,
  count = { entries: 0 },
): Promise<void> => {
  const source = new Source(limited(bytes));
  try {
    while (await skipZeros(source)) {
      const head = await source.peek(16);
      if (/^07070[12]/.test(head.toString('latin1', 0, 6))) {
        await readArchive(source, reader, count);
        continue;
      }
      if (nested >= MAX_NESTED) throw new Unreadable('its initial RAM disk is packed too often');
      const inner = decompressed(head, source.remainder());
      if (!inner) throw new Unreadable('its initial RAM disk is in a format that is not known');
      await readInitramfs(inner, reader, nested + 1, count);
      return;
    }
  } finally {
    await source.close();
  }
};
