import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { hold } from './lock.mjs';

const folder = mkdtempSync(join(tmpdir(), 'ov-lock-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe('a folder that is held', () => {
  it('is refused to a second one until the first lets go', async () => {
    const letGo = await hold(folder);
    expect(await hold(folder)).toBeNull();
    await letGo?.();
    const again = await hold(folder);
    expect(again).not.toBeNull();
    await again?.();
  });

  it('is free again when its holder is killed', async () => {
    const program = `import('${new URL('./lock.mjs', import.meta.url)}').then(async ({ hold }) => {
      await hold(${JSON.stringify(folder)}); process.stdout.write('held'); setInterval(() => {}, 1000); })`;
    const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(child.stdout, 'data');
    expect(await hold(folder)).toBeNull();
    const waiting = hold(folder, { wait: 10 });
    child.kill('SIGKILL');
    const letGo = await waiting;
    expect(letGo).not.toBeNull();
    await letGo?.();
  });
});
