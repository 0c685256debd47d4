import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Bytes, GuestFacts, type ImageFormat, ms } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { Sandbox } from '../sandbox/sandbox.js';
import { lookProgram } from '../testing/look-program.js';
import { LOOK_LIMITS, type LookTool, lookInto, type StoredImage } from './open-disk.js';

const PATH = `${process.env.PATH}:/usr/sbin:/sbin`;
const has = (tool: string) => spawnSync('sh', ['-c', `command -v ${tool}`], { env: { PATH } }).status === 0;

describe.skipIf(!['mke2fs', 'prlimit', 'setpriv'].every(has))('a look in a process of its own', () => {
  const kernel = Buffer.alloc(0x300, 'k');
  kernel.write('HdrS', 0x202, 'latin1');
  let folder = '';
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'guest-disks-'));
    mkdirSync(join(folder, 'root'));
    writeFileSync(join(folder, 'root', 'vmlinuz-6.1.0'), kernel);
    writeFileSync(join(folder, 'root', 'initrd.img-6.1.0'), 'x');
    execFileSync('mke2fs', ['-q', '-t', 'ext4', '-d', join(folder, 'root'), join(folder, 'disk'), '4M'], {
      env: { PATH },
    });
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const facts = async (image: StoredImage, limits: LookTool['limits'] = LOOK_LIMITS) =>
    lookInto({ sandbox: Sandbox.detect(), program: await lookProgram(), limits }, image, {
      ...{ what: 'facts', answer: GuestFacts },
    });
  const stored = async (format: ImageFormat) => {
    const path = join(folder, format);
    execFileSync('qemu-img', ['convert', '-O', format, join(folder, 'disk'), path]);
    const file = await open(path);
    return { file, image: { handle: file, form: format, size: (await file.stat()).size } };
  };

  it.each(['raw', 'qcow2'] as const)('finds what is in an image that is %s', async (format) => {
    const { file, image } = await stored(format);
    expect(await facts(image)).toMatchObject({
      ...{ fileSystems: ['ext4'], kernel: { release: '6.1.0', boot: 'any' } },
      unknown: 'its initial RAM disk is in a format that is not known',
    });
    await file.close();
  });
  it.each(['raw', 'qcow2'] as const)(
    'that takes more than its limits of an image that is %s says so',
    async (format) => {
      const { file, image } = await stored(format);
      for (const limits of [
        { ...LOOK_LIMITS, wall: ms(1) },
        { ...LOOK_LIMITS, memory: (4 * 1024 ** 2) as Bytes },
      ])
        await expect(facts(image, limits)).rejects.toThrow(/too much time or memory/);
      await file.close();
    },
  );
  it('copies a kernel into the store, and no more than may be copied', async () => {
    const { file, image } = await stored('raw');
    const tool = { sandbox: Sandbox.detect(), program: await lookProgram(), limits: LOOK_LIMITS };
    const copy = async (most: number) => {
      const to = await open(join(folder, `kernel-${most}`), 'wx');
      const look = { what: 'aki' as const, answer: z.null(), to: [to], most: most as Bytes };
      await lookInto(tool, image, look).finally(() => to.close());
      return readFile(join(folder, `kernel-${most}`));
    };
    await expect(copy(kernel.length - 1)).rejects.toThrow(/EFBIG/);
    expect((await copy(kernel.length)).equals(kernel)).toBe(true);
    await file.close();
  });
});
