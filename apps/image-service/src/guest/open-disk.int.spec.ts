import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Bytes, GuestFacts, type ImageFormat, ms } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { Sandbox, ToolFailed } from '../sandbox/sandbox.js';
import { lookProgram } from '../testing/look-program.js';
import { Unfinished, Unreadable } from './disk.js';
import { LOOK_LIMITS, type LookTool, lookInto, type StoredImage } from './open-disk.js';

const PATH = `${process.env.PATH}:/usr/sbin:/sbin`;
const has = (tool: string) => spawnSync('sh', ['-c', `command -v ${tool}`], { env: { PATH } }).status === 0;

describe.skipIf(!['mke2fs', 'prlimit', 'setpriv'].every(has))('a look in a process of its own', () => {
  const kernel = Buffer.alloc(0x300, 'k');
  kernel.write('HdrS', 0x202, 'latin1');
  let folder = '';
  const before = process.env.TMPDIR;
  const folders = () => readdirSync(folder).filter((name) => name.startsWith('image-disk-'));
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'guest-disks-'));
    // The reader's user has to come by.
    chmodSync(folder, 0o755);
    process.env.TMPDIR = folder;
    mkdirSync(join(folder, 'root'));
    writeFileSync(join(folder, 'root', 'vmlinuz-6.1.0'), kernel);
    writeFileSync(join(folder, 'root', 'initrd.img-6.1.0'), 'x');
    execFileSync('mke2fs', ['-q', '-t', 'ext4', '-d', join(folder, 'root'), join(folder, 'disk'), '4M'], {
      env: { PATH },
    });
  });
  afterAll(() => {
    if (before === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = before;
    rmSync(folder, { recursive: true, force: true });
  });

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
    'that takes more wall time or memory than it may of an image that is %s says so, and that another may do better',
    async (format) => {
      const { file, image } = await stored(format);
      const late = await facts(image, { ...LOOK_LIMITS, wall: ms(1) }).catch((e) => e);
      expect(late).toBeInstanceOf(Unfinished);
      expect(late.message).toMatch(/too much time/);
      const large = await facts(image, { ...LOOK_LIMITS, memory: (4 * 1024 ** 2) as Bytes }).catch((e) => e);
      expect(large).toBeInstanceOf(Unfinished);
      expect(large.message).toMatch(/its look ended with SIG/);
      await file.close();
    },
  );
  const ending = async (script: string) => {
    const program = join(folder, 'ending.js');
    writeFileSync(program, script);
    const { file, image } = await stored('raw');
    const tool = { sandbox: Sandbox.detect(), program, limits: { ...LOOK_LIMITS, cpu: 1 } };
    return lookInto(tool, image, { what: 'facts', answer: GuestFacts })
      .catch((error) => error)
      .finally(() => file.close());
  };
  it('that takes more CPU time than it may is a verdict on the image', async () => {
    const error = await ending('for (;;);');
    expect(error).toBeInstanceOf(Unreadable);
    expect(error).not.toBeInstanceOf(Unfinished);
    expect(error.message).toMatch(/too much time/);
  });
  it('that was killed by others is none', async () => {
    expect(await ending("process.kill(process.pid, 'SIGKILL'); for (;;);")).toBeInstanceOf(Unfinished);
  });
  it('takes what qemu-nbd says of an image for a verdict', async () => {
    writeFileSync(join(folder, 'damaged'), 'x'.repeat(1024));
    const file = await open(join(folder, 'damaged'));
    const error = await facts({ handle: file, form: 'qcow2', size: 1024 }).catch((e) => e);
    expect(error).not.toBeInstanceOf(Unfinished);
    expect(error).toMatchObject({ message: 'its format is damaged', cause: { message: /not in qcow2 format/ } });
    await file.close();
  });
  it.each([
    ["echo 'mkdir: cannot create directory: No space left on device' >&2; exit 1"],
    ["echo 'unshare: unshare failed: No space left on device' >&2; exit 1"],
    ["echo 'qemu-nbd: Failed to blk_new_open: Cannot allocate memory' >&2; exit 1"],
    ["echo 'qemu-nbd: error while loading shared libraries: libfuse3.so.3' >&2; exit 127"],
    ['kill -KILL $$'],
  ])('takes no other end of its reader for one: %s', async (script) => {
    const sandbox = Sandbox.detect();
    const failing = {
      isolation: sandbox.isolation,
      run: sandbox.run.bind(sandbox),
      start: async () => spawn('sh', ['-c', script]),
    } as unknown as Sandbox;
    const { file, image } = await stored('qcow2');
    const tool = { sandbox: failing, program: await lookProgram(), limits: LOOK_LIMITS };
    const look = lookInto(tool, image, { what: 'facts', answer: GuestFacts });
    await expect(look).rejects.toBeInstanceOf(Unfinished);
    await file.close();
  });
  it('leaves no folder where its reader cannot be started', async () => {
    const sandbox = Sandbox.detect(['qemu-nbd']);
    const failing = {
      isolation: sandbox.isolation,
      start: async () => {
        throw new ToolFailed('qemu-nbd', 'could not be started', 'spawn prlimit EMFILE');
      },
    } as unknown as Sandbox;
    const { file, image } = await stored('qcow2');
    const tool = { sandbox: failing, program: '', limits: LOOK_LIMITS };
    const look = lookInto(tool, image, { what: 'facts', answer: GuestFacts });
    await expect(look).rejects.toThrow(/EMFILE/);
    expect(folders()).toEqual([]);
    await file.close();
  });
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
