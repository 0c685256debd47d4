import { type Disk, stretchOf, Unreadable } from './disk.js';
import { ExtVolume } from './fs/ext.js';
import { FatVolume } from './fs/fat.js';
import { NtfsVolume } from './fs/ntfs.js';
import { FileTree } from './fs/volume.js';
import { XfsVolume } from './fs/xfs.js';
import type { PartitionTable } from './partitions.js';

/** Something with a file system, or with what hides one. */
export interface FoundVolume {
  readonly kind: string;
  /** Undefined when it cannot be read. */
  readonly tree: FileTree | undefined;
  readonly efi: boolean;
  /** Of its partition; 0 for a disk without any. */
  readonly number: number;
  readonly problem: string | null;
}

/** Told by their first bytes, and not read. */
const OTHERS: readonly (readonly [kind: string, offset: number, magic: string])[] = [
  ['btrfs', 65_600, '_BHRfS_M'],
  ['bitlocker', 3, '-FVE-FS-'],
  ['lvm', 512, 'LABELONE'],
  ['luks', 0, 'LUKS\xba\xbe'],
  ['swap', 4_086, 'SWAPSPACE2'],
  ['squashfs', 0, 'hsqs'],
];
const READERS = [ExtVolume, XfsVolume, NtfsVolume, FatVolume];

const volumeOn = async (disk: Disk, { efi, number }: { efi: boolean; number: number }): Promise<FoundVolume> => {
  for (const [kind, offset, magic] of OTHERS)
    if (disk.size >= offset + magic.length)
      if ((await disk.read(offset, magic.length)).toString('latin1') === magic)
        return { kind, efi, number, tree: undefined, problem: null };
  for (const reader of READERS)
    if (await reader.detect(disk)) {
      try {
        const volume = await reader.open(disk);
        return { kind: volume.kind, efi, number, tree: new FileTree(volume), problem: null };
      } catch (error) {
        if (!(error instanceof Unreadable)) throw error;
        return { kind: 'damaged', efi, number, tree: undefined, problem: error.message };
      }
    }
  return { kind: 'unknown', efi, number, tree: undefined, problem: null };
};

/** The file systems of a disk, in the order of its partitions. */
export const findVolumes = async (disk: Disk, table: PartitionTable): Promise<FoundVolume[]> => {
  if (table.style === 'none') return [await volumeOn(disk, { efi: false, number: 0 })];
  const found: FoundVolume[] = [];
  for (const partition of table.partitions)
    found.push(await volumeOn(stretchOf(disk, partition.offset, partition.size), partition));
  return found;
};
