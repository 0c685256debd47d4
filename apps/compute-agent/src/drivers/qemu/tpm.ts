import { spawn } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, readlinkSync, realpathSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../common/native-command.js';
import { HypervisorError } from '../hypervisor-driver.js';
import { FILES, TPM_SOCKET } from './files.js';

const PID = 'swtpm.pid';

/**
 * The emulated TPM of a guest: a process of its own beside QEMU's, as the same user. Its state lies in the guest's folder;
 * it ends by itself when QEMU does.
 */
export const startTpm = async (guestFolder: string, owner: number | null, timeout: number): Promise<void> => {
  const folder = join(guestFolder, FILES.tpm);
  await endTpm(guestFolder);
  mkdirSync(folder, { recursive: true });
  chmodSync(folder, 0o700);
  if (owner !== null) chownSync(folder, owner, owner);
  const socket = join(folder, TPM_SOCKET);
  rmSync(socket, { force: true });
  const args = [
    ...['socket', '--tpm2', '--terminate', '--tpmstate', 'dir=.'],
    ...['--ctrl', `type=unixio,path=${TPM_SOCKET}`, '--flags', 'startup-clear', '--pid', `file=${PID}`],
  ];
  const child = spawn('swtpm', args, {
    cwd: folder,
    detached: true,
    stdio: 'ignore',
    ...(owner === null ? {} : { uid: owner, gid: owner }),
  });
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

/** The process that is the TPM of a guest, or null: the pid that it wrote has to run in its folder. */
export const findTpm = (guestFolder: string): number | null => {
  const folder = join(guestFolder, FILES.tpm);
  try {
    const pid = Number(readFileSync(join(folder, PID), 'utf8'));
    return Number.isInteger(pid) && pid > 1 && readlinkSync(`/proc/${pid}/cwd`) === realpathSync(folder) ? pid : null;
  } catch {
    return null;
  }
};

/** Ends what is left of it, when QEMU never came to use it. */
export const endTpm = async (guestFolder: string): Promise<void> => {
  const pid = findTpm(guestFolder);
  if (pid === null) return;
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
