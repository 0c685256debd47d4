import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { LocalDisk } from './definition.js';
import { DiskTools } from './disk-tools.js';

const MIB = 1024 * 1024;
const hasTool = spawnSync('qemu-img', ['--version']).status === 0;

/** The header that a guest writes on its raw disk to have it taken for an image over a file of the host's. */
const overlayOf = (backing: string): Buffer => {
  const header = Buffer.alloc(4096);
  header.write('QFI\xfb', 0, 'latin1');
  header.writeUInt32BE(3, 4);
  header.writeBigUInt64BE(512n, 8);
  header.writeUInt32BE(backing.length, 16);
  header.writeUInt32BE(16, 20);
  header.writeBigUInt64BE(BigInt(MIB), 24);
  header.writeUInt32BE(1, 36);
  header.writeBigUInt64BE(65_536n, 40);
  header.writeBigUInt64BE(131_072n, 48);
  header.writeUInt32BE(1, 56);
  header.writeUInt32BE(4, 96);
  header.writeUInt32BE(104, 100);
  header.write(backing, 512, 'latin1');
  return header;
};

describe.skipIf(!hasTool)('the disk of a guest that made it look like another', () => {
  let folder: string;
  let tools: DiskTools;
  let secret: string;
  const disk = {
    ...{ name: 'root', file: 'disk', format: 'raw', base: null, size: MIB, serial: 's', slot: null },
  } as unknown as LocalDisk;
  const crafted = () => Buffer.concat([overlayOf(secret), Buffer.alloc(MIB - 4096)]);
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'omnivisor-disk-'));
    secret = join(folder, 'secret');
    writeFileSync(secret, Buffer.alloc(MIB, 'hush'));
    writeFileSync(join(folder, 'disk'), crafted());
    tools = new DiskTools(folder, null);
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('would be taken for it by a tool that guesses', () =>
    expect(spawnSync('qemu-img', ['info', join(folder, 'disk')]).stdout.toString()).toContain('backing file'));

  it('OSSA-2026-002 grows as the raw disk that it is', async () => {
    await tools.grow(disk, 2 * MIB);
    expect(statSync(join(folder, 'disk')).size).toBe(2 * MIB);
    expect(readFileSync(join(folder, 'disk')).subarray(0, MIB)).toEqual(crafted());
  });

  it('OSSA-2024-003 leaves as the bytes that it has, and nobody else’s', async () => {
    await tools.convert(disk, 'raw', 'copy', new AbortController().signal);
    expect(readFileSync(join(folder, 'copy'))).toEqual(crafted());
  });
});
