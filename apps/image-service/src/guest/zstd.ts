import { Decompress } from 'fzstd';
import { Unreadable } from './disk.js';
import { damaged, Source } from './source.js';

const MAGIC = 'fd2fb528';
const SKIPPABLE = /^184d2a5/;
/** The magic number, a descriptor, and all that may come behind. */
const LONGEST_HEADER = 18;
const BLOCK = 128 * 1024;
/** Level 19, the highest that tools ask for of themselves, has 8 MiB; 20 has 32. */
const MAX_WINDOW = 32 * 1024 * 1024;
/** The decoder moves its whole window for each block: so much for all blocks together. */
const MAX_MOVED = 64 * 1024 ** 3;
/** To make room for a window costs as much as to move it this many times. */
const ROOM = 64;

interface Frame {
  /** Of its header. */
  readonly length: number;
  readonly window: number;
  readonly checksum: boolean;
}

const frameOf = (head: Buffer): Frame => {
  const descriptor = head[4] ?? 0;
  // A frame in one segment has no window but its content.
  const single = (descriptor & 0x20) !== 0;
  const sizeAt = (single ? 5 : 6) + [0, 1, 2, 4][descriptor & 3]!;
  const sizeLength = [single ? 1 : 0, 2, 4, 8][descriptor >> 6]!;
  const length = sizeAt + sizeLength;
  if (head.length < length) throw damaged();
  const exponent = 2 ** (10 + (head[5]! >> 3));
  const stated = () =>
    sizeLength === 8
      ? Number(head.readBigUInt64LE(sizeAt))
      : head.readUIntLE(sizeAt, sizeLength) + (sizeLength === 2 ? 256 : 0);
  const window = single ? stated() : exponent + (exponent / 8) * (head[5]! & 7);
  if (window > MAX_WINDOW) throw new Unreadable('its compressed data needs too much memory');
  return { length, window, checksum: (descriptor & 4) !== 0 };
};

/**
 * Frames of Zstandard, one block after the other, so that what one gives can be taken away before the next.
 * @throws Unreadable; what its decoder throws of damaged bytes
 */
export async function* zstd(bytes: AsyncIterable<Buffer>, most = MAX_MOVED): AsyncGenerator<Buffer> {
  const source = new Source(bytes);
  const ready: Uint8Array[] = [];
  const decompress = new Decompress((part) => {
    if (part.length > 0) ready.push(part);
  });
  let moved = 0;
  let whole = false;
  const feed = (part: Buffer, cost: number, final = false): Buffer[] => {
    moved += cost;
    if (moved > most) throw new Unreadable('its compressed data takes too long');
    decompress.push(part, final);
    return ready.splice(0).map((part) => Buffer.from(part.buffer, part.byteOffset, part.length));
  };
  try {
    for (;;) {
      const head = await source.peek(LONGEST_HEADER);
      if (head.length < 8) break;
      const magic = head.readUInt32LE(0).toString(16);
      if (SKIPPABLE.test(magic)) {
        await source.skip(8 + head.readUInt32LE(4));
        continue;
      }
      // Whatever comes behind a frame does no harm to it, as with gzip: often zeros fill up the file.
      if (magic !== MAGIC && whole) break;
      if (magic !== MAGIC) throw damaged();
      const { length, window, checksum } = frameOf(head);
      yield* feed(await source.take(length), ROOM * window);
      for (let last = false; !last; ) {
        const block = (await source.peek(3)).readUIntLE(0, 3);
        const size = block >> 3;
        if (size > BLOCK) throw damaged();
        last = (block & 1) === 1;
        const repeated = ((block >> 1) & 3) === 1;
        yield* feed(await source.take(3 + (repeated ? 1 : size)), window + BLOCK);
      }
      if (checksum) yield* feed(await source.take(4), 0);
      whole = true;
    }
    yield* feed(Buffer.alloc(0), 0, true);
  } finally {
    await source.close();
  }
}
