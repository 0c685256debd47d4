import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { hostLock, pipeFor } from './host-lock.js';
import { listenerLock } from './listener-lock.js';

const folder = mkdtempSync(join(tmpdir(), 'host-lock-'));
afterAll(() => rmSync(folder, { recursive: true }));

const kinds = [
  ['a file', (how: 'try' | 'wait') => hostLock(join(folder, 'lock'), how)],
  // As a named pipe on Windows.
  ['an address', (how: 'try' | 'wait') => listenerLock(`\0${folder}`, how)],
] as const;

it.each(kinds)('of %s lets one agent at a time have a host, and the next one when it ends', async (_, lock) => {
  const release = await lock('try');
  expect(release).not.toBeNull();
  expect(await lock('try')).toBeNull();
  const next = lock('wait');
  await release!();
  await (await next)!();
  const again = await lock('try');
  await again!();
});

it('of an address goes to one of all that wait', async () => {
  const lock = (how: 'try' | 'wait') => listenerLock(`\0${folder}-many`, how);
  const first = await lock('try');
  let held = 0;
  const others = Array.from({ length: 5 }, async () => {
    const release = (await lock('wait'))!;
    held += 1;
    expect(held).toBe(1);
    held -= 1;
    await release();
  });
  await first!();
  await Promise.all(others);
});

it('of an address is let go of by a process that is killed', async () => {
  const address = `\0${folder}-killed`;
  const holder = spawn(process.execPath, [
    '-e',
    `require('net').createServer().listen(${JSON.stringify(address)}, () => console.log('held'))`,
  ]);
  await once(holder.stdout, 'data');
  expect(await listenerLock(address, 'try')).toBeNull();
  const next = listenerLock(address, 'wait');
  holder.kill('SIGKILL');
  await (await next)!();
});

it('has a pipe of its own for each folder on Windows', () => {
  expect(pipeFor('/a/lock')).toMatch(/^\\\\\.\\pipe\\omnivisor-[0-9a-f]{32}$/);
  expect(pipeFor('/A/lock')).toBe(pipeFor('/a/lock'));
  expect(pipeFor('/b/lock')).not.toBe(pipeFor('/a/lock'));
});
