import { damaged, Source } from './source.js';

/** Each block of the legacy format decompresses to at most this much. */
const BLOCK = 8 * 1024 * 1024;
const MAX_COMPRESSED = BLOCK + 65_536;
/** No byte of a block stands for more. */
const MAX_RATIO = 255;
const MAGIC = 0x184c2102;

const decodeBlock = (input: Buffer): Buffer => {
  const output = Buffer.allocUnsafe(Math.min(BLOCK, input.length * MAX_RATIO));
  let to = 0;
  let at = 0;
  const length = (nibble: number): number => {
    let value = nibble;
    if (nibble !== 15) return value;
    for (let byte = 255; byte === 255; value += byte) {
      if (at >= input.length) throw damaged();
      byte = input[at++]!;
    }
    return value;
  };
  while (at < input.length) {
    const token = input[at++]!;
    const literals = length(token >> 4);
    if (at + literals > input.length || to + literals > output.length) throw damaged();
    input.copy(output, to, at, at + literals);
    at += literals;
    to += literals;
    if (at >= input.length) break;
    if (at + 2 > input.length) throw damaged();
    const offset = input.readUInt16LE(at);
    at += 2;
    const match = length(token & 15) + 4;
    if (offset === 0 || offset > to || to + match > output.length) throw damaged();
    // A match may run into what it is writing.
    if (offset >= match) output.copy(output, to, to - offset, to - offset + match);
    else for (let i = 0; i < match; i++) output[to + i] = output[to + i - offset]!;
    to += match;
  }
  return Buffer.from(output.subarray(0, to));
};

/** The legacy frames of LZ4 that Linux uses for its initial RAM disk. */
export async function* lz4Legacy(bytes: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const source = new Source(bytes);
  try {
    for (;;) {
      const head = await source.peek(4);
      if (head.length < 4) return;
      const size = head.readUInt32LE(0);
      // Zeros fill up the file.
      if (size === 0) return;
      await source.skip(4);
      if (size === MAGIC) continue;
      if (size > MAX_COMPRESSED) throw damaged();
      yield decodeBlock(await source.take(size));
    }
  } finally {
    await source.close();
  }
}
