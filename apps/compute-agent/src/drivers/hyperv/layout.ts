import type { Guest } from './guests.js';
import type { Mark } from './mark.js';
import type { ReadyNode } from './node.js';
import { type Drive, SLOTS, type Slot } from './operations/disks.js';

const EXPORT_CHECKPOINT = 'omnivisor export';
const MERGE_LIMIT = 60_000;

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

const same = (a: string | null, b: string) => a?.toLowerCase() === b.toLowerCase();
const isAt = (drive: Drive, { path, slot }: Placed) =>
  same(drive.Path, path) &&
  (slot === null ||
    (drive.ControllerType === slot.type &&
      drive.ControllerNumber === slot.number &&
      drive.ControllerLocation === slot.location));

/**
 * Puts the disks where the mark wants them, whatever was interrupted before. Only disks of ours are moved or taken out.
 * A guest that is on keeps its root where it is; there is nothing to do then.
 */
export const arrangeDisks = async ({ on, vm }: Guest, mark: Mark): Promise<void> => {
  const places = wanted(vm.Generation, mark);
  const drives = await settledDrives(on, vm.Id);
  const own = `${on.paths.guest(mark.serverId)}\\`.toLowerCase();
  const misplaced = drives.filter((drive) => {
    if (!drive.Path || places.some((place) => isAt(drive, place))) return false;
    return drive.Path.toLowerCase().startsWith(own) || places.some((place) => same(drive.Path, place.path));
  });
  for (const drive of misplaced) await on.disks.detach(vm.Id, drive.Path!);
  for (const place of places)
    if (!drives.some((drive) => isAt(drive, place))) await on.disks.attach(vm.Id, place.path, place.slot ?? undefined);
  if (misplaced.length > 0 || drives.length === 0)
    await on.disks.startFrom(vm.Id, vm.Generation, mark.slot ?? SLOTS[vm.Generation].boot);
};

/** Drives as they are without the checkpoint of an export that was cut off. */
const settledDrives = async (on: ReadyNode, vmId: string): Promise<Drive[]> => {
  const deadline = Date.now() + MERGE_LIMIT;
  for (;;) {
    const drives = await on.disks.drives(vmId);
    if (!drives.some((drive) => /\.avhdx?$/i.test(drive.Path ?? '')) || Date.now() > deadline) return drives;
    await removeExportCheckpoint(on, vmId);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
};

export const makeExportCheckpoint = (on: ReadyNode, vmId: string): Promise<boolean> =>
  on.disks.checkpoint(vmId, EXPORT_CHECKPOINT);
export const removeExportCheckpoint = (on: ReadyNode, vmId: string): Promise<void> =>
  on.disks.removeCheckpoint(vmId, EXPORT_CHECKPOINT);

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
