import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { ServerId } from '@omnivisor/contracts';
import { rolldown } from 'rolldown';
import type { Change, Devices, DriverUnderTest } from './driver-under-test.js';

const libs = fileURLToPath(new URL('../../../../../libs/', import.meta.url));

/**
 * An agent in a process of its own, to be killed in the middle of a change.
 * @param entry a module that calls `mortalAgent`
 * @param settings JSON that `mortalAgent` gives to what opens the driver
 */
export const crashIn = async (
  entry: URL,
  settings: unknown,
): Promise<{ readonly crashDuring: NonNullable<DriverUnderTest['crashDuring']>; remove(): void }> => {
  const file = join(tmpdir(), `omnivisor-mortal-agent-${process.pid}-${Date.now()}.mjs`);
  const bundle = await rolldown({
    input: fileURLToPath(entry),
    platform: 'node',
    resolve: {
      alias: { '@omnivisor/contracts': join(libs, 'contracts/src/index.ts') },
      extensionAlias: { '.js': ['.ts', '.js'] },
    },
    logLevel: 'silent',
  });
  await bundle.write({ file, format: 'esm', codeSplitting: false });
  await bundle.close();
  const start = () => spawn(process.execPath, [file, JSON.stringify(settings)], { stdio: ['pipe', 'pipe', 'inherit'] });
  // Node takes longer to start than most changes take, so the next one starts while this one works.
  let next = start();
  const crashDuring = (change: Change, id: ServerId, after: number, devices: Devices): Promise<boolean> =>
    new Promise((resolve, reject) => {
      const child = next;
      let isDone = false;
      let timer: NodeJS.Timeout | undefined;
      createInterface(child.stdout).on('line', (line) => {
        if (line === 'ready') timer = setTimeout(() => child.kill('SIGKILL'), after);
        else if (line === 'done') isDone = true;
      });
      child.once('error', reject);
      child.once('exit', (code, signal) => {
        clearTimeout(timer);
        next = start();
        if (signal === null && code !== 0) reject(new Error(`the agent ended with ${code} during ${change}`));
        else resolve(!isDone);
      });
      child.stdin.end(`${JSON.stringify({ change, id, devices })}\n`);
    });
  const remove = () => {
    next.kill('SIGKILL');
    rmSync(file, { force: true });
  };
  return { crashDuring, remove };
};
