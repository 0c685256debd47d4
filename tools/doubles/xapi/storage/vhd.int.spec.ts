import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createReadStream, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { which } from '../../../services/process.mjs';
import { decodeVhd, encodeVhd } from './vhd.mjs';

const folder = mkdtempSync(join(tmpdir(), 'vhd-'));
const file = (name: string) => join(folder, name);
const size = 9 << 20;
afterAll(() => rmSync(folder, { recursive: true }));

const disk = Buffer.alloc(size);
for (const at of [0, 3 << 20, size - 512]) randomBytes(512).copy(disk, at);

describe.skipIf(!which('qemu-img'))('VHD, beside the tool of another house (needs qemu-img)', () => {
  it('is read as qemu-img writes it', async () => {
    writeFileSync(file('disk.raw'), disk);
    const options = ['-O', 'vpc', '-o', 'subformat=dynamic,force_size=on'];
    execFileSync('qemu-img', ['convert', '-f', 'raw', ...options, file('disk.raw'), file('disk.vhd')]);
    writeFileSync(file('decoded.raw'), '');
    truncateSync(file('decoded.raw'), size);
    await decodeVhd(createReadStream(file('disk.vhd')), file('decoded.raw'), size);
    expect(readFileSync(file('decoded.raw')).equals(disk)).toBe(true);
  });

  it('is written as qemu-img reads it', async () => {
    writeFileSync(file('disk.raw'), disk);
    await writeFile(file('encoded.vhd'), encodeVhd(file('disk.raw'), size));
    execFileSync('qemu-img', ['convert', '-f', 'vpc', '-O', 'raw', file('encoded.vhd'), file('back.raw')]);
    expect(readFileSync(file('back.raw')).subarray(0, size).equals(disk)).toBe(true);
  });
});
