import { describe, expect, it } from 'vitest';
import { zstd } from './zstd.js';

const MIB = 1024 * 1024;
const MAGIC = Buffer.from('28b52ffd', 'hex');

const block = (type: 0 | 1, size: number, bytes: Buffer, last = false): Buffer => {
  const head = Buffer.alloc(3);
  head.writeUIntLE(size * 8 + type * 2 + (last ? 1 : 0), 0, 3);
  return Buffer.concat([head, bytes]);
};
const repeated = (size: number, last = false) => block(1, size, Buffer.from('x'), last);
/** The byte of a window of this size, a power of two. */
const windowed = (size: number) => Buffer.concat([MAGIC, Buffer.from([0, (Math.log2(size) - 10) << 3])]);
const inOneSegment = (size: number) => {
  const head = Buffer.concat([MAGIC, Buffer.from([0xe0]), Buffer.alloc(8)]);
  head.writeBigUInt64LE(BigInt(size), 5);
  return head;
};

/** Sizes of what comes out. */
const unpacked = async (parts: readonly Buffer[], most?: number) => {
  const sizes: number[] = [];
  const source = (async function* () {
    yield Buffer.concat(parts);
  })();
  for await (const part of zstd(source, most)) sizes.push(part.length);
  return sizes;
};

describe('Zstandard', () => {
  it('comes out block by block, whatever the frames are', async () => {
    const skipped = Buffer.from('502a4d1804000000abcdabcd', 'hex');
    const text = Buffer.from('a block that is not packed');
    expect(
      await unpacked([
        ...[windowed(1024), repeated(1_000), block(0, text.length, text, true)],
        ...[skipped, inOneSegment(100), repeated(100, true)],
      ]),
    ).toEqual([1_000, text.length, 100]);
  });
  it.each([
    ['of one segment', inOneSegment(2_000_000_000)],
    ['with a window', windowed(64 * MIB)],
    ['behind another', Buffer.concat([windowed(1024), repeated(1, true), windowed(128 * MIB)])],
    ['of one segment behind another', Buffer.concat([inOneSegment(1), repeated(1, true), inOneSegment(33 * MIB)])],
  ])('needs too much memory in a frame %s', async (_, frame) => {
    const before = process.memoryUsage().arrayBuffers;
    await expect(unpacked([frame, repeated(1_000, true)])).rejects.toThrow(/too much memory/);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(32 * MIB);
  });
  it.each([
    ['zeros that fill up the file', Buffer.alloc(4_096)],
    ['another archive', Buffer.from('070701'.padEnd(512, '0'))],
    ['a few bytes', Buffer.alloc(3)],
  ])('ends at %s behind a frame, and is damaged where there is none before', async (_, rest) => {
    expect(await unpacked([windowed(1024), repeated(1_000, true), rest])).toEqual([1_000]);
    if (rest.length > 8) await expect(unpacked([rest])).rejects.toThrow(/damaged/);
  });
  it('is damaged where a block is larger than blocks are', () =>
    expect(unpacked([windowed(8 * MIB), repeated(128 * 1024 + 1, true)])).rejects.toThrow(/damaged/));
  it.each([
    ['blocks', [windowed(32 * MIB), ...Array<Buffer>(4_000).fill(block(0, 1, Buffer.from('x')))]],
    ['frames', Array<Buffer>(200).fill(Buffer.concat([inOneSegment(32 * MIB), repeated(1, true)]))],
  ])('takes too long with many %s that move much and hold little', (_, parts) =>
    expect(unpacked(parts, 4_096 * MIB)).rejects.toThrow(/takes too long/),
  );
});
