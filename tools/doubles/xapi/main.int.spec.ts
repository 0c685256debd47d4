import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, it } from 'vitest';
import { createClient } from 'xen-api';

const folder = mkdtempSync(join(tmpdir(), 'xapi-program-'));
const settings = join(folder, 'settings.json');
const children: ChildProcess[] = [];
afterAll(() => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(folder, { recursive: true });
});

const start = async (): Promise<{ child: ChildProcess; url: string; control: string }> => {
  const child = spawn(process.execPath, [fileURLToPath(new URL('./main.mjs', import.meta.url)), settings], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  for await (const line of createInterface({ input: child.stdout! })) return { child, ...JSON.parse(line) };
  throw new Error('it ended at once');
};
const connect = async (url: string) => {
  const client = createClient({ url, auth: { user: 'root', password: 'secret' }, watchEvents: false });
  await client.connect();
  return client;
};

it('keeps its pool across an end that nobody announced, but no session', { timeout: 20_000 }, async () => {
  writeFileSync(settings, JSON.stringify({ stateDir: join(folder, 'state'), durable: true }));
  const first = await start();
  const client = await connect(first.url);
  const [pool] = Object.keys(await client.call<object>('pool.get_all_records'));
  await client.call('pool.add_to_other_config', pool, 'kept', 'yes');
  first.child.kill('SIGKILL');
  await new Promise((resolve) => first.child.once('exit', resolve));

  const second = await start();
  const again = await connect(second.url);
  expect(await again.call('pool.get_other_config', pool)).toEqual({ kept: 'yes' });
  const sent = await fetch(`${second.control}/addFault`, {
    method: 'POST',
    body: JSON.stringify([{ method: 'pool.get_all', error: ['TOO_BUSY'] }]),
  });
  expect(sent.status).toBe(200);
  await expect(again.call('pool.get_all')).rejects.toThrow('TOO_BUSY');
  expect((await fetch(`${second.control}/levitate`, { method: 'POST' })).status).toBe(400);
  second.child.kill('SIGTERM');
  await new Promise((resolve) => second.child.once('exit', resolve));
});
