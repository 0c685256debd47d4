import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { type GuestDefinition, guestName } from './definition.js';
import { FILES } from './files.js';
import { findProcess } from './guest-process.js';

const guest = { mark: { cloudId: 'cloud', serverId: 'server', attempt: 1 } } as unknown as GuestDefinition;
const folder = mkdtempSync(join(tmpdir(), 'ov-guest-'));
const [own, elsewhere] = [join(folder, 'own'), join(folder, 'elsewhere')];
let child: ChildProcess;

/** A process with the guest's name, in the folder that a shell script leads to; its pid is written where QEMU writes it. */
const run = async (script: string, name = guestName(guest)) => {
  for (const dir of [own, elsewhere]) mkdirSync(dir, { recursive: true });
  const program = "process.stdout.write('up'); setInterval(() => {}, 1000)";
  const shell = `${script} && exec "$1" -e "$2" "guest=$3"`;
  const args = ['--mount', 'sh', '-c', shell, 'sh', process.execPath, program, name];
  child = spawn('unshare', args, { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout!, 'data');
  writeFileSync(join(own, FILES.pid), `${child.pid}\n`);
};

afterEach(async () => {
  child.kill('SIGKILL');
  await once(child, 'exit');
  rmSync(folder, { recursive: true, force: true });
});

describe.runIf(process.getuid?.() === 0)('the process of a guest', () => {
  it('is found although mounts of its namespace show the folder under another path', async () => {
    await run(`mount --bind ${own} ${elsewhere} && cd ${elsewhere}`);
    expect(findProcess(own, guest)).toBe(child.pid);
  });
  it('is not one that runs elsewhere, nor one with another name', async () => {
    await run(`cd ${elsewhere}`);
    expect(findProcess(own, guest)).toBeNull();
    child.kill('SIGKILL');
    await once(child, 'exit');
    await run(`cd ${own}`, 'another');
    expect(findProcess(own, guest)).toBeNull();
    child.kill('SIGKILL');
    await once(child, 'exit');
    await run(`cd ${own}`);
    expect(findProcess(own, guest)).toBe(child.pid);
  });
});
