import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ImageFormat } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { mutated, seeded } from './mutations.js';
import { tablesProblem } from './tables.js';

const hasTool = spawnSync('qemu-img', ['--version']).status === 0;
const MIB = 1024 * 1024;
const SECTOR = 512;
const problem = (form: ImageFormat, bytes: Buffer) =>
  tablesProblem(form, {
    size: bytes.length,
    read: async (offset, length) => bytes.subarray(Math.min(offset, bytes.length), offset + length),
  });

describe.skipIf(!hasTool)('the tables of an image', () => {
  let folder = '';
  let whole: Buffer;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'tables-'));
    const random = seeded(1);
    const disk = Buffer.alloc(6 * MIB);
    for (let i = 0; i < 3 * MIB; i += 4) disk.writeUInt32LE(random(2 ** 32), i);
    for (let i = 5 * MIB; i < 6 * MIB; i += 4) disk.writeUInt32LE(random(2 ** 32), i);
    whole = disk;
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const cases: [ImageFormat, string, string[]][] = [
    ['qcow2', 'qcow2', []],
    ['qcow2', 'qcow2', ['-c']],
    ['qcow2', 'qcow2', ['-o', 'compat=0.10,cluster_size=4096']],
    ['vhd', 'vpc', ['-o', 'force_size=on']],
    ['vhdx', 'vhdx', []],
    ['vhdx', 'vhdx', ['-o', 'block_size=1M']],
    ['vdi', 'vdi', []],
    ['vmdk-sparse', 'vmdk', []],
    ['vmdk', 'vmdk', ['-o', 'subformat=streamOptimized']],
  ];
  const made = (driver: string, options: string[], disk = whole) => {
    writeFileSync(join(folder, 'disk'), disk);
    execFileSync('qemu-img', [
      'convert',
      '-f',
      'raw',
      '-O',
      driver,
      ...options,
      join(folder, 'disk'),
      join(folder, 'made'),
    ]);
    return readFileSync(join(folder, 'made'));
  };

  const readBack = (driver: string, bytes: Buffer) => {
    writeFileSync(join(folder, 'cut'), bytes);
    execFileSync('qemu-img', ['convert', '-f', driver, '-O', 'raw', join(folder, 'cut'), join(folder, 'read')]);
    return readFileSync(join(folder, 'read'));
  };

  it.each(cases)(
    'point to what is there in a whole %s (%s %j), and not in one that was cut off',
    async (form, driver, options) => {
      const bytes = made(driver, options);
      expect(await problem(form, bytes)).toBeNull();
      for (const part of [0.02, 0.3, 0.6, 0.8])
        expect(await problem(form, bytes.subarray(0, Math.floor(bytes.length * part))), String(part)).toMatch(
          /cut off/,
        );
    },
  );
  it.each(cases)(
    'of a %s (%s %j) are whole when its disk can be read, and refused else',
    async (form, driver, options) => {
      let refused = 0;
      for (const size of [3 * MIB, 3 * MIB + 41 * SECTOR, 2 * MIB - SECTOR])
        for (const text of [true, false]) {
          const disk = text ? Buffer.alloc(size, 'lorem ipsum dolor sit amet ') : whole.subarray(0, size);
          const bytes = made(driver, options, disk);
          expect(await problem(form, bytes), `${size}`).toBeNull();
          for (const cut of [SECTOR, 60 * SECTOR]) {
            const rest = bytes.subarray(0, -cut);
            // What is behind the end of the disk may be missing.
            if ((await problem(form, rest)) !== null) refused++;
            else expect(readBack(driver, rest).equals(disk), `${size} without ${cut}`).toBe(true);
          }
        }
      expect(refused).toBeGreaterThan(5);
    },
  );
  it('of a qcow2 are whole, too, when its last cluster is deflated and ends with the file', async () => {
    const path = join(folder, 'compressed');
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', path, '1M']);
    execFileSync('qemu-io', ['-c', 'write -c -P 7 0 64k', '-c', 'write -c -P 9 64k 64k', path]);
    const bytes = readFileSync(path);
    expect(bytes.length % SECTOR).toBeGreaterThan(0);
    expect(await problem('qcow2', bytes)).toBeNull();
    for (const cut of [4, 20, SECTOR]) expect(await problem('qcow2', bytes.subarray(0, -cut))).toMatch(/cut off/);
  });
  it('may be anything, and still the check comes to an end', async () => {
    const random = seeded(4);
    for (const [form, driver, options] of cases) {
      const bytes = made(driver, options);
      for (let round = 0; round < 10; round++) await problem(form, mutated(bytes, bytes, random));
    }
  });
  it.each([
    ['qcow2', 'qcow2', 36],
    ['vhd', 'vpc', 512 + 28],
  ] as const)('of a %s that are larger than any are read in pieces, or not at all', async (form, driver, at) => {
    const bytes = made(driver, []);
    bytes.writeUInt32BE(60_000_000, at);
    const lengths: number[] = [];
    const size = 2 ** 40;
    const read = async (offset: number, length: number) => {
      lengths.push(length);
      const part = Buffer.alloc(length);
      bytes.copy(part, 0, Math.min(offset, bytes.length), offset + length);
      return part;
    };
    await tablesProblem(form, { size, read });
    expect(Math.max(...lengths)).toBeLessThanOrEqual(MIB);
    expect(lengths.reduce((sum, length) => sum + length, 0)).toBeLessThan(form === 'qcow2' ? MIB : 512 * MIB);
  });
  it('are not asked of formats that have none', async () => expect(await problem('raw', Buffer.alloc(10))).toBeNull());
});
