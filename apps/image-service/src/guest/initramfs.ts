import { type Bytes, decompressed } from './decompress.js';
import { Unreadable } from './disk.js';
import { Source } from './source.js';

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
    if (reader.entry(path) && size <= MAX_KEPT) reader.contents(path, await source.take(size));
    else await source.skip(size);
    await source.skip(align(source.at - base));
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
    while (await source.skipZeros()) {
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
