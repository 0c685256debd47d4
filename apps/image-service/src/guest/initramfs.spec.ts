import { describe, expect, it } from 'vitest';
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
});
