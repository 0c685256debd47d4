import { deflateRawSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { tablesProblem } from './tables.js';

const CLUSTER = 64 * 1024;
const problem = (bytes: Buffer) =>
  tablesProblem('qcow2', { size: bytes.length, read: async (at, length) => bytes.subarray(at, at + length) });

/** A qcow2 with one table of clusters, at `tableAt`, and compressed ones behind it. */
const qcow2 = (tableAt: number, packed: Buffer, places: readonly number[]): Buffer => {
  const b = Buffer.alloc(tableAt + CLUSTER);
  b.write('QFI\xfb', 0, 'latin1');
  b.writeUInt32BE(3, 4);
  b.writeUInt32BE(16, 20);
  b.writeBigUInt64BE(BigInt(places.length * CLUSTER), 24);
  b.writeUInt32BE(1, 36);
  b.writeBigUInt64BE(512n, 40);
  b.writeUInt32BE(104, 100);
  b.writeBigUInt64BE(BigInt(tableAt), 512);
  const end = b.length + packed.length;
  for (const [i, place] of places.entries()) {
    const at = b.length + place;
    const sectors = Math.ceil(end / 512) - Math.floor(at / 512);
    b.writeBigUInt64BE((1n << 62n) | (BigInt(sectors - 1) << 54n) | BigInt(at), tableAt + i * 8);
  }
  return Buffer.concat([b, packed]);
};

describe('the tables of a qcow2', () => {
  /** Empty blocks, each of which another cluster begins with, and the one that they all end with. */
  const manyInOne = (count: number): Buffer => {
    const empty = Buffer.from([0, 0, 0, 0xff, 0xff]);
    const packed = Buffer.concat([...Array<Buffer>(count).fill(empty), deflateRawSync(Buffer.alloc(CLUSTER))]);
    const places = Array.from({ length: count }, (_, i) => i * empty.length);
    return qcow2(CLUSTER, packed, places);
  };

  it('may point to some clusters that end with the file', async () => expect(await problem(manyInOne(60))).toBeNull());
  it('may not have more of them unpacked than an honest image has', async () =>
    expect(await problem(manyInOne(70))).toMatch(/its tables/));
  it('have them unpacked while others have their turn', async () => {
    let turns = 0;
    const count = () => {
      turns++;
      next = setImmediate(count);
    };
    let next = setImmediate(count);
    await problem(manyInOne(60));
    clearImmediate(next);
    expect(turns).toBeGreaterThan(10);
  });
  it('lie at whole clusters, as QEMU has it, and nowhere else', async () => {
    expect(await problem(qcow2(CLUSTER, Buffer.alloc(0), []))).toBeNull();
    expect(await problem(qcow2(CLUSTER + 512, Buffer.alloc(0), []))).toMatch(/its tables/);
  });
});
