import { spawnSync } from 'node:child_process';
import { chmod, mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Bytes, ms } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Sandbox, toolPath } from './sandbox.js';

const sandbox = Sandbox.detect();
const limits = { memory: (2 ** 29) as Bytes, cpu: 10, file: (2 ** 20) as Bytes, wall: ms(20_000) };
/** What a machine that lets nobody mount falls back to is the tool's user and its arguments. */
describe.runIf(sandbox.isolation.files)('a tool in the sandbox', () => {
  let folder = '';
  const path = (name: string) => join(folder, name);
  const run = async (tool: string, args: readonly string[], given?: string) => {
    const files = [
      { handle: await open(path('image'), 'r'), write: false },
      { handle: await open(path('target'), 'r+'), write: true },
    ];
    try {
      return await sandbox.run(tool, args, { files, limits, ...(given ? { folder: given } : {}) });
    } finally {
      for (const { handle } of files) await handle.close();
    }
  };
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sandbox-'));
    await chmod(folder, 0o755);
    await writeFile(path('image'), 'the image');
    await writeFile(path('target'), '');
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it('reads and writes the files that it is given', async () => {
    await run('cp', [toolPath(0), toolPath(1)]);
    expect(await run('cat', [toolPath(1)])).toBe('the image');
  });
  it.each(['/etc/passwd', '/proc/self/environ', '/sys/kernel', new URL(import.meta.url).pathname])(
    'does not see %s',
    (file) => expect(run('cat', [file])).rejects.toThrow(/No such file/),
  );
  it('sees a folder when it is given one, by its path', async () => {
    expect((await run('ls', [folder], folder)).split('\n')).toContain('image');
    await expect(run('ls', [folder])).rejects.toThrow(/No such file/);
  });
  it('may use as much stack as leaves room for many threads, also where the machine allows more', async () => {
    const limit = (value: string) => spawnSync('prlimit', ['--pid', String(process.pid), `--stack=${value}:`]);
    limit('67108864');
    try {
      expect(await run('sh', ['-c', 'ulimit -s'])).toBe('2048\n');
    } finally {
      limit('8388608');
    }
  });
  it('is told that its CPU time is up', async () => {
    const options = { files: [], limits: { ...limits, cpu: 1 } };
    await expect(sandbox.run('sh', ['-c', 'while :; do :; done'], options)).rejects.toMatchObject({
      ...{ status: 'SIGXCPU', late: false },
    });
  });
  it('is known to have been late when its wall time was up', async () => {
    const options = { files: [], limits: { ...limits, wall: ms(50) } };
    await expect(sandbox.run('sleep', ['60'], options)).rejects.toMatchObject({ status: 'SIGKILL', late: true });
  });
  it('is said to be missing where it does not run', async () => {
    const without = Sandbox.detect(['cat', 'no-such-tool']);
    expect(without.missing).toEqual(['no-such-tool']);
    const error = await without.run('no-such-tool', [], { files: [], limits }).catch((e) => e);
    expect(error).toMatchObject({ kind: 'unsupported' });
  });
  it('may neither mount, nor become another, nor make a namespace to do so in', async () => {
    await expect(run('mount', ['-t', 'tmpfs', 'tmpfs', '/tmp'])).rejects.toThrow(/permission denied|superuser/i);
    await expect(run('chroot', ['/usr', '/bin/true'])).rejects.toThrow(/not permitted/);
    await expect(run('unshare', ['--user', 'true'])).rejects.toThrow(/not permitted/);
  });
});
