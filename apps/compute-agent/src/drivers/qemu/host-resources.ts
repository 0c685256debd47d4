import { readFileSync, statfsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { type GuestSpec, type HostInventory, HypervisorError } from '../hypervisor-driver.js';
import { promisedBytes } from './disks.js';

/** A line of /proc/meminfo, in MiB. */
const memory = (field: string): number => {
  const kib = new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(readFileSync('/proc/meminfo', 'utf8'))?.[1] ?? '0';
  return Math.floor(Number(kib) / 1024);
};

/** What this machine has; disk is the file system that `dir` is on. */
export const hostInventory = (dir: string, reservedMemoryMib: number): HostInventory => {
  const { blocks, bsize } = statfsSync(dir);
  return {
    vcpus: availableParallelism(),
    memoryMib: Math.max(0, memory('MemTotal') - reservedMemoryMib),
    diskGib: Math.floor((blocks * bsize) / 1024 ** 3),
  };
};

/**
 * @param promised MiB of memory for guests, and what of it other guests have been promised
 * @throws HypervisorError `noResources`
 */
export const refuseBeyondCapacity = (
  spec: GuestSpec,
  dir: string,
  promised: { readonly total: number; readonly used: number },
): void => {
  const free = Math.min(promised.total - promised.used, memory('MemAvailable'));
  if (spec.flavor.memory > free)
    throw new HypervisorError('noResources', `not enough memory: ${spec.flavor.memory} MiB wanted, ${free} MiB free`);
  const { bavail, bsize } = statfsSync(dir);
  const wanted = promisedBytes(spec);
  if (wanted > bavail * bsize)
    throw new HypervisorError('noResources', `not enough disk: ${wanted} bytes wanted, ${bavail * bsize} bytes free`);
};
