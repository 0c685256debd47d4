import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { hostLock } from './host-lock.js';

const folder = mkdtempSync(join(tmpdir(), 'host-lock-'));
afterAll(() => rmSync(folder, { recursive: true }));

it('lets one agent at a time have a host, and the next one when it ends', async () => {
  const path = join(folder, 'lock');
  const release = await hostLock(path, 'try');
  expect(release).not.toBeNull();
  expect(await hostLock(path, 'try')).toBeNull();
  const next = hostLock(path, 'wait');
  await release!();
  await (await next)!();
  const again = await hostLock(path, 'try');
  await again!();
});
