import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { Size } from './definition.js';

const ROOT = '/sys/fs/cgroup';
/**
 * What QEMU needs beside the guest's memory: its own code, caches of disks and translations, the screen. And what the
 * kernel keeps of that memory: tables of its pages, small ones while a migration looks which are written.
 */
const OVERHEAD_MIB = 1_024;
const OVERHEAD_SHARE = 0.02;
/** One thread for each vCPU, and those that wait for disks and screens. */
const THREADS = 512;
const SHARES = 1_024;

/** Limits of a guest's process, whatever writes them down. */
export const limitsOf = ({ vcpus, memoryMib, limits }: Size) => {
  const period = limits.cpu_period ?? 100_000;
  return {
    memory: (memoryMib + OVERHEAD_MIB + Math.ceil(memoryMib * OVERHEAD_SHARE)) * 1024 ** 2,
    tasks: vcpus + THREADS,
    shares: limits.cpu_shares ?? SHARES * vcpus,
    quota: limits.cpu_quota === undefined ? null : { quota: limits.cpu_quota, period },
  };
};

/** Limits as properties of a systemd scope. */
export const scopeProperties = (size: Size): string[] => {
  const { memory, tasks, shares, quota } = limitsOf(size);
  return [
    `MemoryMax=${memory}`,
    `TasksMax=${tasks}`,
    `CPUWeight=${weightOf(shares)}`,
    ...(quota ? [`CPUQuota=${Math.max(1, Math.round((100 * quota.quota) / quota.period))}%`] : []),
  ].flatMap((property) => ['-p', property]);
};

/** Weights of cgroups 2 go from 1 to 10,000 around 100, shares of cgroups 1 from 2 to 262,144 around 1,024. */
const weightOf = (shares: number): number => Math.min(10_000, Math.max(1, Math.round((shares * 100) / SHARES)));

const isUnified = () => existsSync(join(ROOT, 'cgroup.controllers'));

/** Hierarchies in which each guest has a group: those that limit, and those that a stop of the agent's container may walk. */
const hierarchies = (): string[] =>
  (isUnified() ? [''] : ['memory', 'cpu', 'pids', 'systemd', 'unified'])
    .map((name) => join(ROOT, name))
    .filter((path) => existsSync(join(path, 'cgroup.procs')));

const files = (size: Size): Record<string, string> => {
  const { memory, tasks, shares, quota } = limitsOf(size);
  return isUnified()
    ? {
        'memory.max': `${memory}`,
        'pids.max': `${tasks}`,
        'cpu.weight': `${weightOf(shares)}`,
        ...(quota ? { 'cpu.max': `${quota.quota} ${quota.period}` } : {}),
      }
    : {
        'memory.limit_in_bytes': `${memory}`,
        'pids.max': `${tasks}`,
        'cpu.shares': `${shares}`,
        ...(quota ? { 'cpu.cfs_period_us': `${quota.period}`, 'cpu.cfs_quota_us': `${quota.quota}` } : {}),
      };
};

/** A guest that moves from one agent of a machine to another has two processes for a while, so the folder tells them apart. */
const group = (parent: string, guestFolder: string) =>
  join(
    parent,
    `omnivisor-${basename(guestFolder)}-${createHash('sha256').update(guestFolder).digest('hex').slice(0, 8)}`,
  );

/** Puts a process into groups of its own with the limits of its size, as far as this host lets us make any. */
export const enterGroups = (guestFolder: string, pid: number, size: Size): void => {
  for (const parent of hierarchies()) {
    const folder = group(parent, guestFolder);
    try {
      mkdirSync(folder, { recursive: true });
      for (const [file, value] of Object.entries(files(size)))
        if (existsSync(join(folder, file))) writeFileSync(join(folder, file), value);
      writeFileSync(join(folder, 'cgroup.procs'), String(pid));
    } catch {
      // Without the right to make groups the guest stays in the agent's; its session and process group are its own.
      removeFolder(folder);
    }
  }
};

/** Where a hierarchy is mounted that a process's list of groups names by its controllers, or by its name. */
const mountOf = (controllers: string): string =>
  isUnified() ? ROOT : join(ROOT, controllers.replace('name=', '') || 'unified');

/** Puts a process into the groups with limits that a guest's process is in, whether we made them or systemd did. */
export const joinGroups = (pid: number, guestPid: number): void => {
  for (const line of readFileSync(`/proc/${guestPid}/cgroup`, 'utf8').trim().split('\n')) {
    const [, controllers = '', path = ''] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (!path.includes('/omnivisor-')) continue;
    try {
      writeFileSync(join(mountOf(controllers), path, 'cgroup.procs'), String(pid));
    } catch {
      // It stays in the agent's, as a guest does where there is no right to make groups.
    }
  }
};

/** The kernel lets go of a group a moment after its last process has been reaped; a TPM ends after its guest. */
export const leaveGroups = async (guestFolder: string): Promise<void> => {
  for (const parent of hierarchies())
    for (let tries = 0; tries < 200 && !removeFolder(group(parent, guestFolder)); tries++)
      await new Promise((resolve) => setTimeout(resolve, 5));
};

/** Limits that hold on this host, for the operator. */
export const limitsHere = (): string => {
  if (readFileSync('/proc/1/comm', 'utf8').trim() === 'systemd') return 'limits by systemd scopes';
  const parents = hierarchies();
  const probe = parents.filter((parent) => {
    const folder = join(parent, `omnivisor-probe-${process.pid}`);
    try {
      mkdirSync(folder);
      return ['memory.max', 'memory.limit_in_bytes', 'pids.max', 'cpu.weight', 'cpu.shares'].some((file) =>
        existsSync(join(folder, file)),
      );
    } catch {
      return false;
    } finally {
      removeFolder(folder);
    }
  });
  return probe.length > 0 ? `limits by ${probe.length} control groups` : 'no control groups, so no limits';
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
