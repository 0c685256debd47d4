import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, rmdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ServerId } from '@omnivisor/contracts';
import { HypervisorError } from '../hypervisor-driver.js';
import { FILES } from './command-line.js';
import { type GuestDefinition, guestName } from './definition.js';
import { asHypervisorError } from './native-command.js';
import { homeOf } from './taps.js';

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
export const findProcess = (dir: string, guest: GuestDefinition): number | null => {
  const pid = Number.parseInt(text(join(dir, FILES.pid)) ?? '', 10);
  return Number.isInteger(pid) && pid > 1 && isGuest(pid, dir, guest) ? pid : null;
};

const isGuest = (pid: number, dir: string, guest: GuestDefinition): boolean => {
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
  const [command, ...rest] = [...systemdScope(guest), ...namespaceOf(guest), qemu, ...args] as [string, ...string[]];
  const log = openSync(join(dir, FILES.stderr), 'w', 0o600);
  let ended: string | null = null;
  let failure: Error | null = null;
  const child = spawn(command, rest, { cwd: dir, detached: true, stdio: ['ignore', log, log] });
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
      if (ended) {
        const words = (text(join(dir, FILES.stderr)) ?? '').trim();
        throw asHypervisorError(new Error(ended), 'starting the guest', words || ended);
      }
      if (signal.aborted) throw new HypervisorError('fault', 'starting the guest was aborted');
      if (Date.now() > deadline)
        throw new HypervisorError('unavailable', 'the QEMU process does not answer', `in ${timeout} ms`);
      await new Promise((resolve) => setTimeout(resolve, 10));
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
  if (pid !== null) ownCgroup(guest.mark.serverId, pid);
};

/** Ends a guest's process at once. Only after its identity has been checked, and never by its group. */
export const kill = async (dir: string, guest: GuestDefinition, timeout: number): Promise<void> => {
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
  await removeCgroup(guest.mark.serverId);
};

/** Waits until the process holds nothing any more; false when it still does. */
export const waitForEnd = async (pid: number, dir: string, timeout: number): Promise<boolean> => {
  const deadline = Date.now() + timeout;
  while (isAlive(pid, dir)) {
    if (Date.now() > deadline) return false;
    await pause();
  }
  return true;
};

const pause = () => new Promise((resolve) => setTimeout(resolve, 5));

const namespaceOf = (guest: GuestDefinition): string[] => {
  const namespace = homeOf(guest);
  return namespace ? ['ip', 'netns', 'exec', namespace] : [];
};

const systemdScope = ({ mark }: GuestDefinition): string[] =>
  text('/proc/1/comm')?.trim() === 'systemd' && process.getuid?.() === 0
    ? ['systemd-run', '--quiet', '--scope', '--collect', `--unit=omnivisor-guest-${mark.serverId}-${Date.now()}`, '--']
    : [];

/** Where PID 1 is not systemd: a group per guest in the hierarchies that a stop of the agent's container may walk. */
const CGROUPS = ['/sys/fs/cgroup', '/sys/fs/cgroup/unified', '/sys/fs/cgroup/systemd'];

const ownCgroup = (id: ServerId, pid: number): void => {
  if (text('/proc/1/comm')?.trim() === 'systemd') return;
  for (const parent of CGROUPS) {
    if (text(join(parent, 'cgroup.procs')) === null) continue;
    const group = join(parent, `omnivisor-${id}`);
    try {
      mkdirSync(group, { recursive: true });
      writeFileSync(join(group, 'cgroup.procs'), String(pid));
    } catch {
      // Without the right to make groups the guest stays in the agent's; its session and process group are its own.
      removeFolder(group);
    }
  }
};

/** The kernel lets go of a group a moment after its last process has been reaped. */
const removeCgroup = async (id: ServerId): Promise<void> => {
  for (const parent of CGROUPS)
    for (let tries = 0; tries < 40 && !removeFolder(join(parent, `omnivisor-${id}`)); tries++) await pause();
};

/** @returns true when it is not there any more */
const removeFolder = (path: string): boolean => {
  try {
    rmdirSync(path);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'EBUSY';
  }
};
