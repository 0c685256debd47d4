import { execFileSync, spawnSync } from 'node:child_process';
import { chmod, mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ImageFormat } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { describedBy, parentedDescriptors } from '../formats/vectors.js';
import { Sandbox } from '../sandbox/sandbox.js';
import { convert, sourceName } from './qemu-img.js';

const hasTool = spawnSync('qemu-img', ['--version']).status === 0;
const MIB = 1024 * 1024;

describe.skipIf(!hasTool)('an image over another file, should it come as far as a tool', () => {
  let folder = '';
  let sandbox: Sandbox;
  const path = (name: string) => join(folder, name);
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'image-tool-'));
    await chmod(folder, 0o755);
    sandbox = Sandbox.detect();
    await writeFile(path('secret'), Buffer.alloc(MIB, 'hush'));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  const overlay = async (form: ImageFormat, driver: string): Promise<Buffer> => {
    const args = ['create', '-q', '-f', driver];
    if (driver === 'qcow2') {
      execFileSync('qemu-img', [...args, '-b', path('secret'), '-F', 'raw', path('made')]);
      return readFile(path('made'));
    }
    const type = form === 'vmdk' ? 'streamOptimized' : 'monolithicSparse';
    execFileSync('qemu-img', [...args, '-o', `subformat=${type}`, path('made'), '1M']);
    const file = { driver: 'file', filename: path('secret') };
    const parent = `json:${JSON.stringify({ driver: 'raw', file }).replaceAll('"', "'")}`;
    const [, text, sectors] = parentedDescriptors(parent, type)[0]!;
    return describedBy(text, sectors, await readFile(path('made')));
  };
  it.each<[ImageFormat, string]>([
    ['qcow2', 'qcow2'],
    ['vmdk', 'vmdk'],
    ['vmdk-sparse', 'vmdk'],
  ])('is read as if it stood alone: %s', async (form, driver) => {
    const bytes = await overlay(form, driver);
    await writeFile(path('image'), bytes);
    const source = await open(path('image'), 'r');
    const target = await open(path('raw'), 'w+');
    try {
      const from = { handle: source, form, size: bytes.length };
      await convert(sandbox, { ...from, virtualSize: MIB }, { handle: target, form: 'raw' });
      expect((await target.readFile()).equals(Buffer.alloc(MIB))).toBe(true);
      // So is what qemu-nbd serves.
      expect(JSON.parse(sourceName(form, bytes.length, 0).slice('json:'.length))).toMatchObject({ backing: null });
    } finally {
      await source.close();
      await target.close();
    }
  });
});
