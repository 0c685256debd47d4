import { crc32, gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { seeded } from '../formats/mutations.js';
import { BoundedDisk, DiskFailed } from './disk.js';
import { readInitramfs } from './initramfs.js';
import { lz4Legacy } from './lz4.js';
import { Source } from './source.js';

const MIB = 1024 * 1024;

const entry = (name: string, size: number): Buffer => {
  const fields = [0, 0o100644, 0, 0, 1, 0, size, 0, 0, 0, 0, name.length + 1, 0];
  const head = Buffer.from(`070701${fields.map((f) => f.toString(16).padStart(8, '0')).join('')}${name}\0`);
  return Buffer.concat([head, Buffer.alloc((4 - (head.length % 4)) % 4)]);
};

async function* pieces(...parts: readonly (readonly [piece: Buffer, times: number])[]): AsyncGenerator<Buffer> {
  for (const [piece, times] of parts) for (let i = 0; i < times; i++) yield piece;
}

/** What `Buffer.concat` and `Buffer.allocUnsafe` were asked for while `work` ran. */
const moved = async (work: () => Promise<unknown>): Promise<number> => {
  const { concat, allocUnsafe } = Buffer;
  let bytes = 0;
  Buffer.concat = (list, length) => {
    const whole = concat.call(Buffer, list, length) as Buffer<ArrayBuffer>;
    bytes += whole.length;
    return whole;
  };
  Buffer.allocUnsafe = (size) => {
    bytes += size;
    return allocUnsafe.call(Buffer, size) as Buffer<ArrayBuffer>;
  };
  try {
    await work();
  } finally {
    Object.assign(Buffer, { concat, allocUnsafe });
  }
  return bytes;
};

const littleEndian = (value: number, bytes: number): Buffer => {
  const b = Buffer.alloc(bytes);
  b.writeUIntLE(value, 0, bytes);
  return b;
};
const summed = (bytes: Buffer): Buffer => Buffer.concat([bytes, littleEndian(crc32(bytes), 4)]);
/** The headers of a stream of xz and its first block. */
const xzHeaders = (dictionary: number): Buffer =>
  Buffer.concat([
    Buffer.from('fd377a585a00', 'hex'),
    ...[summed(Buffer.alloc(2)), summed(Buffer.from([2, 0, 0x21, 1, dictionary, 0, 0, 0]))],
  ]);

/** An archive with `lib/modules/1/virtio_blk.ko`, as `xz -9` packs it. */
const XZ = Buffer.from(
  '/Td6WFoAAAFpIt42AgAhARwAAAAQz1jM4AFHAE5dABgN3QRjnRHbQZJa/5KhTYwLJf8NDWFkDLoRQASy4oj58o/iUN+gYmxUabAnN9vVOou9xtxK0eL83Ti7BAO87V5jDgBlIzigqA2oaZToAAAAAH7n4poAAWbIAgAAAAtTlG4+MA2LAgAAAAABWVo=',
  'base64',
);
const inPieces = (bytes: Buffer, length: number) =>
  pieces(
    ...Array.from(
      { length: Math.ceil(bytes.length / length) },
      (_, i) => [bytes.subarray(i * length, (i + 1) * length), 1] as const,
    ),
  );

const BLOCK = 65_536;
const inBlocks = (head: Buffer, bytes: Buffer, packed: (block: Buffer, index: number) => Buffer[]): Buffer =>
  Buffer.concat([
    head,
    ...Array.from({ length: bytes.length / BLOCK }, (_, i) =>
      packed(bytes.subarray(i * BLOCK, (i + 1) * BLOCK), i),
    ).flat(),
  ]);
/** They make nothing smaller, and do not come to an end. */
const PACKERS: readonly [name: string, pack: (bytes: Buffer) => Buffer][] = [
  ['gzip', (bytes) => gzipSync(bytes, { level: 0 })],
  [
    'zstd',
    (bytes) =>
      inBlocks(Buffer.from('28b52ffd0068', 'hex'), bytes, (block) => [littleEndian(block.length * 8, 3), block]),
  ],
  ['xz', (bytes) => inBlocks(xzHeaders(20), bytes, (block, i) => [Buffer.from([i === 0 ? 1 : 2, 0xff, 0xff]), block])],
  [
    'lz4',
    (bytes) =>
      inBlocks(Buffer.from('02214c18', 'hex'), bytes, (block) => {
        const rest = block.length - 15;
        const length = Buffer.from([0xf0, ...Array<number>(Math.floor(rest / 255)).fill(255), rest % 255]);
        return [littleEndian(length.length + block.length, 4), length, block];
      }),
  ],
];
const nothing = { entry: () => false, contents: () => {} };

describe('an initial RAM disk', () => {
  it('is read in time with its bytes, however small the pieces are in which they come', async () => {
    const size = 2 * MIB;
    const list = pieces(
      ...([[entry('lib/modules/1/modules.builtin', size), 1]] as const),
      ...([[Buffer.alloc(256, '\n'), size / 256]] as const),
      ...([[entry('TRAILER!!!', 0), 1]] as const),
    );
    const got: number[] = [];
    const reader = { entry: () => true, contents: (_: string, bytes: Buffer) => got.push(bytes.length) };
    expect(await moved(() => readInitramfs(list, reader))).toBeLessThan(2 * size);
    expect(got).toEqual([size]);
  });
  it('may have zeros between its archives, which cost no more than a look at each', async () => {
    const source = new Source(pieces([Buffer.alloc(MIB), 64], [Buffer.from('x'), 1]));
    const before = process.cpuUsage();
    expect(await source.skipZeros()).toBe(true);
    expect(source.at).toBe(64 * MIB);
    expect(process.cpuUsage(before).user / 1_000).toBeLessThan(2_000);
  });
  it('packed by lz4 in blocks of some bytes takes room for what they can become', async () => {
    const block = Buffer.from([5, 0, 0, 0, 0x1f, 0x0a, 1, 0, 240]);
    const packed = Buffer.concat([Buffer.from('02214c18', 'hex'), ...Array<Buffer>(1_000).fill(block)]);
    let size = 0;
    const bytes = await moved(async () => {
      for await (const part of lz4Legacy(pieces([packed, 1]))) size += part.length;
    });
    expect(size).toBe(260 * 1_000);
    expect(bytes).toBeLessThan(8 * MIB);
  });
  it.each(PACKERS)('packed by %s is not damaged where it is the disk that fails', async (_, pack) => {
    const random = seeded(3);
    const bytes = Buffer.alloc(4 * MIB);
    for (let at = 0; at < bytes.length; at += 4) bytes.writeUInt32LE(random(2 ** 32), at);
    entry('lib/modules/1/large.ko', 8 * MIB).copy(bytes);
    const packed = pack(bytes);
    const eio = Object.assign(new Error('i/o error, read'), { code: 'EIO' });
    const disk = new BoundedDisk(
      {
        size: packed.length,
        read: async (offset, length) => {
          if (offset >= 2 * MIB) throw eio;
          return packed.subarray(offset, offset + length);
        },
      },
      { bytes: 8 * MIB, reads: 100 },
    );
    const file = async function* () {
      for (let at = 0; ; at += MIB) yield await disk.read(at, MIB);
    };
    const error = await readInitramfs(file(), nothing).catch((e) => e);
    expect(error).toBeInstanceOf(DiskFailed);
    expect(error.cause).toBe(eio);
  });
  it.each([1, 16, 17])('packed by xz is read in time with its bytes, in pieces of %i', async (length) => {
    const paths: string[] = [];
    const reader = { entry: (path: string) => paths.push(path) < 0, contents: () => {} };
    await readInitramfs(inPieces(XZ, length), reader);
    expect(paths).toEqual(['lib/modules/1/virtio_blk.ko']);
  });
  it.each([1, 16, 17, 4_096])('packed by xz needs too much memory, also in pieces of %i', async (length) => {
    const packed = Buffer.concat([xzHeaders(40), Buffer.alloc(4_096)]);
    const read = readInitramfs(inPieces(packed, length), nothing);
    await expect(read).rejects.toThrow(/too much memory/);
  });
});
