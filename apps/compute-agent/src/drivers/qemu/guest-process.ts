import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cpuList } from '../common/cpu-set.js';
import { asHypervisorError } from '../common/native-command.js';
import { HypervisorError } from '../hypervisor-driver.js';
import { enterGroups, joinGroups, leaveGroups, scopeProperties } from './cgroups.js';
import { type GuestDefinition, guestName } from './definition.js';
import { starting, tapsOf } from './descriptors.js';
import { FILES } from './files.js';
import { commandOf, isZombie, processes, worksIn } from './processes.js';
import { findTpm } from './tpm.js';

type Guest = Pick<GuestDefinition, 'mark' | 'adopted'>;

/**
 * The process that is this guest, or null. A pid alone proves nothing, it may have been given to another: the process
 * has to run in the guest's folder and carry the guest's name; of an adopted guest, it has to be started as that was.
 */
export const findProcess = (dir: string, guest: Guest): number | null => {
  const pid = Number.parseInt(text(join(dir, FILES.pid)) ?? '', 10);
  return Number.isInteger(pid) && pid > 1 && isGuest(pid, dir, guest) ? pid : null;
};

const isGuest = (pid: number, dir: string, guest: Guest): boolean => {
  const command = commandOf(pid);
  const isNamed = guest.adopted
    ? command.join('\0') === guest.adopted.command.join('\0')
    : command.includes(`guest=${guestName(guest)}`);
  return isNamed && isAlive(pid, dir, guest);
};

/** True also while the process ends: it has no command line any more, but still holds its files and devices. */
const isAlive = (pid: number, dir: string, { adopted }: Guest): boolean =>
  !isZombie(pid) && worksIn(pid, adopted?.folder ?? dir);

const text = (path: string): string | null => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
};

export interface Launch {
  readonly dir: string;
  readonly guest: GuestDefinition;
  readonly qemu: string;
  readonly args: readonly string[];
  /** Processors that it may run on; null: all. */
  readonly cpus: readonly number[] | null;
  /** The process answers its control socket. */
  ready(): Promise<boolean>;
  readonly timeout: number;
  readonly signal: AbortSignal;
}

/**
 * Starts QEMU in a session, process group and, where possible, cgroup of its own: nothing that ends the agent ends it.
 * @throws HypervisorError with QEMU's own words in `native` when it does not come up
 */
export const launch = async ({ dir, guest, qemu, args, cpus, ready, timeout, signal }: Launch): Promise<void> => {
  const [program, ...rest] = [...systemdScope(guest), ...onCpus(cpus), ...commandFor(guest, qemu, args)] as [
    string,
    ...string[],
  ];
  const log = openSync(join(dir, FILES.stderr), 'w', 0o600);
  let ended: string | null = null;
  let failure: Error | null = null;
  const child = spawn(program, rest, {
    cwd: guest.adopted?.folder ?? dir,
    detached: true,
    stdio: ['ignore', log, log],
    ...(guest.adopted && isRoot() ? { uid: guest.adopted.user, gid: guest.adopted.user } : {}),
  });
  if (guest.adopted) writeFileSync(join(dir, FILES.pid), `${child.pid}`, { mode: 0o600 });
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
  if (pid === null) return;
  if (!isSystemd()) enterGroups(dir, pid, guest);
  const tpm = findTpm(dir);
  if (tpm !== null) joinGroups(tpm, pid);
};

const onCpus = (cpus: readonly number[] | null): string[] => (cpus === null ? [] : ['taskset', '-c', cpuList(cpus)]);

/** Only root can open network devices and take a process's network away; an adopted guest has its own. */
const commandFor = ({ adopted, nics }: GuestDefinition, qemu: string, args: readonly string[]): string[] => {
  if (adopted) return adopted.command;
  return isRoot() ? starting(tapsOf(nics), [qemu, ...args]) : [qemu, ...args];
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

/**
 * Ends a guest's process at once, also one that an agent began to start and that has not written its pid yet. Only after
 * its identity has been checked, and never by its group.
 */
export const kill = async (dir: string, guest: Guest, timeout: number): Promise<void> => {
  for (const pid of processes().filter((known) => isGuest(known, dir, guest))) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw asHypervisorError(error, 'ending the guest');
    }
    if (!(await waitForEnd(pid, dir, guest, timeout)))
      throw new HypervisorError('unavailable', 'the QEMU process cannot be ended', `pid ${pid}`);
  }
  await leaveGroups(dir);
};

/** Waits until the process holds nothing any more; false when it still does. */
export const waitForEnd = async (pid: number, dir: string, guest: Guest, timeout: number): Promise<boolean> => {
  const deadline = Date.now() + timeout;
  while (isAlive(pid, dir, guest)) {
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
