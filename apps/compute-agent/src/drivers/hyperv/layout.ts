import { type BasedDrive, basedDrives, isLayered, removeExportCheckpoint, same, settledDrives } from './checkpoints.js';
import type { Guest } from './guests.js';
import type { Mark } from './mark.js';
import type { ReadyNode } from './node.js';
import { SLOTS, type Slot } from './operations/disks.js';

interface Placed {
  readonly path: string;
  /** Null: anywhere on SCSI. */
  readonly slot: Slot | null;
}

/** Which disk has to be where. */
const wanted = (generation: 1 | 2, mark: Mark): Placed[] => {
  const slots = SLOTS[generation];
  const boot = mark.slot ?? slots.boot;
  return [
    ...(mark.rescue
      ? [
          { path: mark.rescue, slot: boot },
          { path: mark.root, slot: slots.second },
        ]
      : [{ path: mark.root, slot: boot }]),
    ...(mark.ephemeral ? [{ path: mark.ephemeral, slot: slots.ephemeral }] : []),
    ...Object.values(mark.disks).map((path) => ({ path, slot: null })),
  ];
};

const isAt = (drive: BasedDrive, { path, slot }: Placed) =>
  same(drive.base, path) &&
  (slot === null ||
    (drive.ControllerType === slot.type &&
      drive.ControllerNumber === slot.number &&
      drive.ControllerLocation === slot.location));

/**
 * Puts the disks where the mark wants them, whatever was interrupted before. Only disks of ours are moved or taken out.
 * A guest that is on keeps its root where it is; there is nothing to do then.
 * @throws HypervisorError `fault` for a disk that is misplaced while somebody else's checkpoint stands on it
 */
export const arrangeDisks = async (guest: Guest, mark: Mark): Promise<void> => {
  const { on, vm } = guest;
  const places = wanted(vm.Generation, mark);
  const isMisplaced = (drive: BasedDrive) => drive.base !== null && !places.some((place) => isAt(drive, place));
  let drives = await basedDrives(guest, mark);
  if (drives.some(isLayered)) await removeExportCheckpoint(on, vm.Id);
  if (drives.some((drive) => isLayered(drive) && isMisplaced(drive))) drives = await settledDrives(guest, mark);
  const misplaced = drives.filter(isMisplaced);
  for (const drive of misplaced) await on.disks.detach(vm.Id, drive.Path!);
  for (const place of places)
    if (!drives.some((drive) => isAt(drive, place))) await on.disks.attach(vm.Id, place.path, place.slot ?? undefined);
  if (misplaced.length > 0 || drives.length === 0)
    await on.disks.startFrom(vm.Id, vm.Generation, mark.slot ?? SLOTS[vm.Generation].boot);
};

/** Removes disks of the guest's folder that nothing of it stands on any more. */
export const sweep = async (on: ReadyNode, mark: Mark): Promise<void> => {
  const folder = on.paths.guest(mark.serverId);
  const needed = new Set<string>();
  for (const top of [mark.root, mark.rescue, mark.ephemeral, mark.before?.root ?? null]) {
    let path = top;
    while (path?.toLowerCase().startsWith(`${folder.toLowerCase()}\\`)) {
      needed.add(path.toLowerCase());
      path = (await on.disks.info(path)).ParentPath;
    }
  }
  for (const { Name } of await on.files.items(folder)) {
    const path = `${folder}\\${Name}`;
    if (/\.vhdx?$/i.test(Name) && !needed.has(path.toLowerCase())) await on.files.remove(path);
    if (/\.iso$/i.test(Name) && !same(mark.configDrive, path)) await on.files.remove(path);
  }
};
