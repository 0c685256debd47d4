import { rmSync } from 'node:fs';
import { ErrorRecord } from './errors.mjs';

/** Everything that a disk stands on, itself first. */
export const chainOf = (host, path) => {
  const chain = [];
  for (let file = host.local(path); file; file = host.disks.info(file)?.parent) chain.push(host.remote(file));
  return chain;
};

/** The disk that a drive's is merged into, as no checkpoint holds it any more; null: none. */
const below = (host, vm, drive) => {
  if (!/\.avhdx?$/i.test(drive.path ?? '')) return null;
  const [, parent] = chainOf(host, drive.path);
  const isHeld = vm.snapshots.some(({ disks }) => Object.values(disks).includes(parent));
  return isHeld ? null : parent;
};

const layersOf = (host, vm) =>
  vm.drives.filter((drive) => drive.kind === 'HardDiskDrive' && below(host, vm, drive) !== null);

/** Whether a disk goes into another by a merge, or gets another. */
export const isMerging = (host, path) =>
  [...host.vms.values()].some((vm) =>
    layersOf(host, vm).some((drive) =>
      [drive.path, below(host, vm, drive)].some((one) => one.toLowerCase() === path.toLowerCase()),
    ),
  );

/** A checkpoint is gone at once; its disks are merged beside whatever the machine does, and take their time. */
export const mergeLater = (host, vm) => {
  if (layersOf(host, vm).length === 0) return;
  const timer = setTimeout(async () => {
    host.merges.delete(timer);
    if (host.vms.get(vm.Id) !== vm) return;
    try {
      await host.machines.disksChanged(vm);
    } catch (error) {
      if (!(error instanceof ErrorRecord)) throw error;
      // A guest that runs in QEMU is merged when it is off.
      return mergeLater(host, vm);
    }
    for (const drive of layersOf(host, vm)) {
      const parent = below(host, vm, drive);
      await host.disks.merge(host.local(drive.path));
      rmSync(host.local(drive.path));
      drive.path = parent;
    }
    host.save();
    mergeLater(host, vm);
  }, host.mergeTime);
  host.merges.add(timer);
};
