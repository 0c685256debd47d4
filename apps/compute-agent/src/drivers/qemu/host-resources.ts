import { readFileSync, statfsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { type GuestSpec, type HostInventory, HypervisorError } from '../hypervisor-driver.js';
import type { Size } from './definition.js';
import { promisedBytes } from './disks.js';
import { freePages, sizeOf } from './sizes.js';

/** A line of /proc/meminfo, in MiB. */
const memory = (field: string): number => {
  const kib = new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(readFileSync('/proc/meminfo', 'utf8'))?.[1] ?? '0';
  return Math.floor(Number(kib) / 1024);
};

/** What this machine has; disk is the file system that `dir` is on. */
export const hostInventory = (dir: string): HostInventory => {
  const { blocks, bsize } = statfsSync(dir);
  return {
    vcpus: availableParallelism(),
    memoryMib: memory('MemTotal'),
    diskGib: Math.floor((blocks * bsize) / 1024 ** 3),
  };
};

/**
 * Refuses memory that a guest could not start with. What may be promised of ordinary memory, and how often, is the
 * scheduler's to say: it is taken when a guest writes to it. Large pages are taken at once.
 * @param total MiB that this host has
 * @param free MiB of free pages of a size in KiB
 * @throws HypervisorError `noResources`
 */
export const refuseMemoryBeyond = (
  { memoryMib, hugePages }: Pick<Size, 'memoryMib' | 'hugePages'>,
  total: number,
  free: (pageSize: number) => number = freePages,
): void => {
  const has = hugePages === null ? total : Math.min(total, free(hugePages));
  if (memoryMib <= has) return;
  const kind = hugePages === null ? '' : ` on free pages of ${hugePages} KiB`;
  throw new HypervisorError('noResources', `not enough memory: ${memoryMib} MiB wanted, ${has} MiB${kind} here`);
};

/** @throws HypervisorError `noResources` */
export const refuseDiskBeyond = (wanted: number, dir: string): void => {
  const { bavail, bsize } = statfsSync(dir);
  if (wanted > bavail * bsize)
    throw new HypervisorError('noResources', `not enough disk: ${wanted} bytes wanted, ${bavail * bsize} bytes free`);
};

/** @throws HypervisorError `noResources` for a guest that this host could not start, or give its disks */
export const refuseBeyondCapacity = (
  spec: GuestSpec,
  dir: string,
  total: number,
  free: (pageSize: number) => number = freePages,
): void => {
  refuseMemoryBeyond(sizeOf(spec), total, free);
  refuseDiskBeyond(promisedBytes(spec), dir);
};
