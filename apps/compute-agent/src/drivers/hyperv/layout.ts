import {
  type BasedDrive,
  basedDrives,
  isLayered,
  removeExportCheckpoint,
  same,
  settledDrives,
  VIRTUAL_DISK,
} from './checkpoints.js';
import type { Guest } from './guests.js';
import type { Mark } from './mark.js';
import type { ReadyNode } from './node.js';
import { type Drive, SLOTS, type Slot } from './operations/disks.js';

interface Placed {
  readonly path: string;
  /** Null: anywhere but where another has to be. */
  readonly slot: Slot | null;
}

/**
 * Which disk has to be where.
 * @param isTaken by a drive that is none of ours: then the disk goes anywhere else
 */
const wanted = (generation: 1 | 2, mark: Mark, isTaken: (slot: Slot) => boolean): Placed[] => {
  const slots = SLOTS[generation];
  const ifFree = (slot: Slot) => (isTaken(slot) ? null : slot);
  const boot = mark.slot ?? slots.boot;
  return [
    ...(mark.rescue
      ? [
          { path: mark.rescue, slot: boot },
          { path: mark.root, slot: ifFree(slots.second) },
        ]
      : [{ path: mark.root, slot: boot }]),
    ...(mark.ephemeral ? [{ path: mark.ephemeral, slot: ifFree(slots.ephemeral) }] : []),
    ...Object.values(mark.disks).map((path) => ({ path, slot: null })),
  ];
};

const isIn = (drive: Drive, slot: Slot | null) =>
  drive.ControllerType === slot?.type &&
  drive.ControllerNumber === slot.number &&
  drive.ControllerLocation === slot.location;

/**
 * Puts the disks where the mark wants them, whatever was interrupted before. Only disks of ours are moved or taken out, and
 * what a rebuild has replaced: of an adopted guest that is none of ours, and its file stays.
 * A guest that is on keeps its root where it is; there is nothing to do then.
 * @throws HypervisorError `fault` for a disk that is misplaced while somebody else's checkpoint stands on it
 */
export const arrangeDisks = async (guest: Guest, mark: Mark): Promise<void> => {
  const { on, vm } = guest;
  const boot = mark.slot ?? SLOTS[vm.Generation].boot;
  let drives = await basedDrives(guest, mark);
  const hasSecond = mark.rescue !== null || mark.ephemeral !== null;
  const dvds = hasSecond ? await on.disks.dvdDrives(vm.Id) : [];
  const strange = [...drives.filter(({ base }) => base === null), ...dvds];
  const places = wanted(vm.Generation, mark, (slot) => strange.some((drive) => isIn(drive, slot)));
  // An earlier release put volumes where a rescue has the root.
  const isAt = (drive: BasedDrive, { path, slot }: Placed) =>
    same(drive.base, path) && (slot ? isIn(drive, slot) : !places.some((place) => isIn(drive, place.slot)));
  const isReplaced = (drive: BasedDrive) =>
    mark.rebuilding !== null && isIn(drive, boot) && VIRTUAL_DISK.test(drive.Path ?? '');
  const isMisplaced = (drive: BasedDrive) =>
    (drive.base !== null || isReplaced(drive)) && !places.some((place) => isAt(drive, place));
  if (drives.some(isLayered)) await removeExportCheckpoint(on, vm.Id);
  if (drives.some((drive) => isLayered(drive) && isMisplaced(drive))) drives = await settledDrives(guest, mark);
  const misplaced = drives.filter(isMisplaced);
  for (const drive of misplaced) await on.disks.detach(vm.Id, drive.Path!);
  const missing = places.filter((place) => !drives.some((drive) => isAt(drive, place)));
  for (const { path, slot } of missing) await on.disks.attach(vm.Id, path, slot ?? undefined);
  if (misplaced.length > 0 || missing.some(({ slot }) => slot)) await on.disks.startFrom(vm.Id, vm.Generation, boot);
};

/** Removes disks of the guest's folder that nothing of it stands on any more. */
export const sweep = async (on: ReadyNode, mark: Mark): Promise<void> => {
  const folder = on.paths.guest(mark.serverId);
  const needed = new Set<string>();
  for (const top of [mark.root, mark.rescue, mark.ephemeral, mark.before?.root ?? null])
    for await (const path of top ? on.disks.chain(top) : []) {
      if (!path.toLowerCase().startsWith(`${folder.toLowerCase()}\\`)) break;
      needed.add(path.toLowerCase());
    }
  for (const { Name } of await on.files.items(folder)) {
    const path = `${folder}\\${Name}`;
    if (/\.vhdx?$/i.test(Name) && !needed.has(path.toLowerCase())) await on.files.remove(path);
    const isInserted = [mark.configDrive, mark.rescueConfigDrive].some((iso) => same(iso, path));
    if (/\.iso$/i.test(Name) && !isInserted) await on.files.remove(path);
  }
};
