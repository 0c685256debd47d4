import { spawn } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, readlinkSync, realpathSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../common/native-command.js';
import { HypervisorError } from '../hypervisor-driver.js';
import { FILES } from './files.js';

/**
 * The emulated TPM of a guest: a process of its own beside QEMU's, as the same user. Its state lies in the guest's folder;
 * it ends by itself when QEMU does.
 */
export const startTpm = async (folder: string, owner: number | null, timeout: number): Promise<void> => {
  const state = join(folder, FILES.tpmState);
  await endTpm(folder);
  mkdirSync(state, { recursive: true, mode: 0o700 });
  chmodSync(state, 0o700);
  if (owner !== null) chownSync(state, owner, owner);
  const socket = join(folder, FILES.tpm);
  rmSync(socket, { force: true });
  const args = [
    ...['socket', '--tpm2', '--terminate', '--tpmstate', `dir=${FILES.tpmState}`],
    ...['--ctrl', `type=unixio,path=${FILES.tpm}`, '--flags', 'startup-clear'],
    ...['--pid', `file=${PID}`],
    ...(owner === null ? [] : ['--runas', String(owner)]),
  ];
  const child = spawn('swtpm', args, { cwd: folder, detached: true, stdio: 'ignore' });
  child.unref();
  const failed = new Promise<string>((resolve) => {
    child.once('error', () => resolve('missing'));
    child.once('exit', (code) => resolve(`swtpm ended with ${code}`));
  });
  const deadline = Date.now() + timeout;
  while (!existsSync(socket)) {
    const ended = await Promise.race([failed, new Promise((resolve) => setTimeout(() => resolve(null), 5))]);
    if (ended === 'missing') throw new HypervisorError('unsupported', 'this host has no emulated TPM', 'swtpm');
    if (ended !== null || Date.now() > deadline)
      throw new HypervisorError('fault', 'the emulated TPM does not start', String(ended ?? 'no socket'));
  }
};

const PID = 'tpm.pid';

/** Ends what is left of it, when QEMU never came to use it. */
export const endTpm = async (folder: string): Promise<void> => {
  let pid: number;
  try {
    pid = Number(readFileSync(join(folder, PID), 'utf8'));
    if (!Number.isInteger(pid) || pid < 2 || readlinkSync(`/proc/${pid}/cwd`) !== realpathSync(folder)) return;
  } catch {
    return;
  }
  try {
    process.kill(pid, 'SIGTERM');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
};

/** True when this host can emulate one. */
export const hasTpm = (): Promise<boolean> =>
  run('swtpm', ['--version']).then(
    () => true,
    () => false,
  );
