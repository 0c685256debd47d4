import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { asHypervisorError } from '../common/native-command.js';
import { HypervisorError } from '../hypervisor-driver.js';
import { enterGroups, leaveGroups, scopeProperties } from './cgroups.js';
import { type GuestDefinition, guestName } from './definition.js';
import { starting, tapsOf } from './descriptors.js';
import { FILES } from './files.js';

const text = (path: string): string | null => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
};

/**
 * The process that is this guest, or null. A pid alone proves nothing, it may have been given to another: the process
 * has to run in the guest's folder and carry the guest's name.
 */
export const findProcess = (dir: string, guest: Pick<GuestDefinition, 'mark'>): number | null => {
  const pid = Number.parseInt(text(join(dir, FILES.pid)) ?? '', 10);
  return Number.isInteger(pid) && pid > 1 && isGuest(pid, dir, guest) ? pid : null;
};

const isGuest = (pid: number, dir: string, guest: Pick<GuestDefinition, 'mark'>): boolean => {
  const command = text(`/proc/${pid}/cmdline`)?.split('\0') ?? [];
  return command.includes(`guest=${guestName(guest)}`) && isAlive(pid, dir);
};

/**
 * True also while the process ends: it has no command line any more, but still holds its files and devices. The folder
 * itself is compared, not its path: seen through the mounts of another namespace, as `ip netns exec` makes one, a folder
 * may have another path.
 */
const isAlive = (pid: number, dir: string): boolean => {
  if (isZombie(pid)) return false;
  try {
    const [works, own] = [statSync(`/proc/${pid}/cwd`), statSync(dir)];
    return works.ino === own.ino && works.dev === own.dev;
  } catch {
    return false;
  }
};

const isZombie = (pid: number): boolean => /^State:\s+[ZX]/m.test(text(`/proc/${pid}/status`) ?? 'State: X');

export interface Launch {
  readonly dir: string;
  readonly guest: GuestDefinition;
  readonly qemu: string;
  readonly args: readonly string[];
  /** The process answers its control socket. */
  ready(): Promise<boolean>;
  readonly timeout: number;
  readonly signal: AbortSignal;
}

/**
 * Starts QEMU in a session, process group and, where possible, cgroup of its own: nothing that ends the agent ends it.
 * @throws HypervisorError with QEMU's own words in `native` when it does not come up
 */
export const launch = async ({ dir, guest, qemu, args, ready, timeout, signal }: Launch): Promise<void> => {
  const plain = [qemu, ...args];
  // Only root can open network devices and take a process's network away.
  const command = isRoot() ? starting(tapsOf(guest.nics), plain) : plain;
  const [program, ...rest] = [...systemdScope(guest), ...command] as [string, ...string[]];
  const log = openSync(join(dir, FILES.stderr), 'w', 0o600);
  let ended: string | null = null;
  let failure: Error | null = null;
  const child = spawn(program, rest, { cwd: dir, detached: true, stdio: ['ignore', log, log] });
  closeSync(log);
  child.unref();
  child.once('error', (error) => {
    failure = error;
  });
  child.once('exit', (code, by) => {
    ended = `ended with ${by ?? `code ${code}`}`;
  });
  const comesUp = async () => {
    const deadline = Date.now() + timeout;
    while (!(await ready())) {
      if (failure) throw asHypervisorError(failure, 'QEMU');
      if (ended) throw startFailure(ended, (text(join(dir, FILES.stderr)) ?? '').trim());
      if (signal.aborted) throw new HypervisorError('fault', 'starting the guest was aborted');
      if (Date.now() > deadline)
        throw new HypervisorError('unavailable', 'the QEMU process does not answer', `in ${timeout} ms`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  try {
    await comesUp();
  } catch (error) {
    // It may not have written its pid yet, so nobody else could find it.
    child.kill('SIGKILL');
    throw error;
  }
  const pid = findProcess(dir, guest);
  if (pid !== null && !isSystemd()) enterGroups(dir, pid, guest);
};

/** QEMU that is not installed is told by the helper that would have started it. */
const startFailure = (ended: string, words: string): HypervisorError => {
  const native = words || ended;
  if (/^exec: No such file/m.test(words))
    return new HypervisorError('unsupported', 'QEMU is not installed on this host', native);
  if (/^no network (device|namespace): /m.test(words))
    return new HypervisorError('fault', 'a network device of the guest is not there', native);
  return asHypervisorError(new Error(ended), 'starting the guest', native);
};

/** Ends a guest's process at once. Only after its identity has been checked, and never by its group. */
export const kill = async (dir: string, guest: Pick<GuestDefinition, 'mark'>, timeout: number): Promise<void> => {
  const pid = findProcess(dir, guest);
  if (pid !== null) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw asHypervisorError(error, 'ending the guest');
    }
    if (!(await waitForEnd(pid, dir, timeout)))
      throw new HypervisorError('unavailable', 'the QEMU process cannot be ended', `pid ${pid}`);
  }
  await leaveGroups(dir);
};

/** Waits until the process holds nothing any more; false when it still does. */
export const waitForEnd = async (pid: number, dir: string, timeout: number): Promise<boolean> => {
  const deadline = Date.now() + timeout;
  while (isAlive(pid, dir)) {
    if (Date.now() > deadline) return false;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return true;
};

const isRoot = () => process.getuid?.() === 0;
const isSystemd = () => text('/proc/1/comm')?.trim() === 'systemd';

const systemdScope = (guest: GuestDefinition): string[] =>
  isSystemd() && isRoot()
    ? [
        ...['systemd-run', '--quiet', '--scope', '--collect'],
        ...[`--unit=omnivisor-guest-${guest.mark.serverId}-${Date.now()}`, ...scopeProperties(guest), '--'],
      ]
    : [];
