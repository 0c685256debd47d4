import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run } from '../../services/process.mjs';
import { TestPool } from './testing/pool.js';

const VERSION = 'XenAPI==26.21.1';
const folder = mkdtempSync(join(tmpdir(), 'xenapi-client-'));

/** The vendor's own Python client, in an environment of its own; why not, when it cannot be had. */
const installed = ((): true | string => {
  const python = join(folder, 'bin', 'python');
  for (const [command, ...args] of [
    ['python3', '-m', 'venv', folder],
    [python, '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', VERSION],
  ] as [string, ...string[]][]) {
    const { status, stderr, error } = spawnSync(command, args, { encoding: 'utf8', timeout: 90_000 });
    if (status !== 0) return `${command}: ${error?.message ?? stderr.trim().split('\n').at(-1)}`;
  }
  return true;
})();
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.skipIf(installed !== true)(`the vendor's Python client${installed === true ? '' : ` (${installed})`}`, () => {
  let pool: TestPool;
  beforeAll(async () => {
    pool = await TestPool.start({ addresses: ['127.0.0.1', '127.0.0.2'] });
  });
  afterAll(() => pool.stop());

  it('logs in, makes and drives a VM, gets its errors and follows events', { timeout: 60_000 }, async () => {
    const script = fileURLToPath(new URL('./client_check.py', import.meta.url));
    const python = join(folder, 'bin', 'python');
    const { code, stdout, stderr } = await run(python, [script, pool.double.url(0), pool.double.url(1)]);
    expect([code, stdout.trim().split('\n').at(-1), stderr]).toEqual([0, 'all 13 checks hold', '']);
    expect(execFileSync(python, ['-m', 'pip', 'show', 'XenAPI'], { encoding: 'utf8' })).toContain('26.21.1');
  });
});
