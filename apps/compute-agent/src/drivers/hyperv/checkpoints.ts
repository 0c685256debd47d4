import { HypervisorError } from '../hypervisor-driver.js';
import type { Guest } from './guests.js';
import type { Mark } from './mark.js';
import type { ReadyNode } from './node.js';
import { type Drive, isGone } from './operations/disks.js';

const EXPORT_CHECKPOINT = 'omnivisor export';
const MERGES_WITHIN = 60_000;
const LOOK_AGAIN = 100;
/** As disks of a guest are called in its folder. */
const OWN_NAME = /\\(root|rescue|ephemeral)-[0-9a-f]+\.vhdx?$/i;
export const VIRTUAL_DISK = /\.a?vhdx?$/i;

export interface BasedDrive extends Drive {
  /** Our disk that is in the drive, maybe below what a checkpoint has put on it; null: none of ours. */
  readonly base: string | null;
}

export const same = (a: string | null, b: string | null): boolean => a?.toLowerCase() === b?.toLowerCase();

/** The guest writes into a disk above, and the one below must not change. */
export const isLayered = ({ Path, base }: BasedDrive): boolean =>
  /\.avhdx?$/i.test(Path ?? '') || (base !== null && !same(base, Path));

/** Hyper-V merges a disk away beside: one that was listed may be gone when it is asked for what it stands on. */
const LISTINGS = 3;

/** Somebody may take a checkpoint any time; what a drive has then stands on our disk, and counts as that. */
export const basedDrives = async (guest: Guest, mark: Mark): Promise<BasedDrive[]> => {
  for (let listed = 1; ; listed++)
    try {
      return await listedDrives(guest, mark);
    } catch (error) {
      if (!isGone(error) || listed === LISTINGS) throw error;
    }
};

const listedDrives = async ({ on, vm }: Guest, mark: Mark): Promise<BasedDrive[]> => {
  const folder = `${on.paths.guest(mark.serverId)}\\`.toLowerCase();
  const known = [mark.root, mark.rescue, mark.ephemeral, mark.before?.root ?? null, ...Object.values(mark.disks)];
  const isOurs = (path: string) =>
    known.some((one) => same(one, path)) || (path.toLowerCase().startsWith(folder) && OWN_NAME.test(path));
  const baseOf = async (path: string | null): Promise<string | null> => {
    if (!path) return null;
    for await (const disk of on.disks.chain(path)) {
      if (!VIRTUAL_DISK.test(disk)) return null;
      if (isOurs(disk)) return disk;
    }
    return null;
  };
  const drives = await on.disks.drives(vm.Id);
  return Promise.all(drives.map(async (drive) => ({ ...drive, base: await baseOf(drive.Path) })));
};

/**
 * The drives once no disks are being merged: Hyper-V does that beside, some time after a checkpoint was removed. What others
 * have taken stays, ours of an export that was cut off does not.
 * @throws HypervisorError `fault` when that takes too long
 */
export const mergedDrives = async (guest: Guest, mark: Mark = guest.mark): Promise<BasedDrive[]> => {
  const { on, vm } = guest;
  const deadline = Date.now() + (on.node.options.mergesWithin ?? MERGES_WITHIN);
  for (;;) {
    const drives = await basedDrives(guest, mark);
    if (!drives.some(isLayered)) return drives;
    const names = await on.disks.checkpoints(vm.Id);
    if (names.includes(EXPORT_CHECKPOINT)) await removeExportCheckpoint(on, vm.Id);
    if (names.some((name) => name !== EXPORT_CHECKPOINT)) return drives;
    if (Date.now() > deadline)
      throw new HypervisorError('fault', 'disks of the guest are still being merged after a checkpoint');
    await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN));
  }
};

/**
 * The drives of a guest whose disks are about to be changed.
 * @throws HypervisorError `fault` as long as somebody else's checkpoint stands on them
 */
export const settledDrives = async (guest: Guest, mark: Mark = guest.mark): Promise<BasedDrive[]> => {
  const drives = await mergedDrives(guest, mark);
  if (drives.some(isLayered)) throw new HypervisorError('fault', 'a checkpoint that is not ours is on the guest');
  return drives;
};

/** Checkpoints go, whoever took them, and what was written since is in the disks. */
export const giveUpCheckpoints = async (guest: Guest): Promise<void> => {
  const { on, vm } = guest;
  for (const name of new Set(await on.disks.checkpoints(vm.Id))) await on.disks.removeCheckpoint(vm.Id, name);
  await settledDrives(guest);
};

export const makeExportCheckpoint = (on: ReadyNode, vmId: string): Promise<boolean> =>
  on.disks.checkpoint(vmId, EXPORT_CHECKPOINT);
export const removeExportCheckpoint = (on: ReadyNode, vmId: string): Promise<void> =>
  on.disks.removeCheckpoint(vmId, EXPORT_CHECKPOINT);
