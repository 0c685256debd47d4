import { guidAt } from '../formats/guid.js';
import { type Disk, Unreadable } from './disk.js';

const SECTOR = 512;
const MAX_PARTITIONS = 64;
const EXTENDED = new Set([0x05, 0x0f, 0x85]);
const EFI_GUID = 'c12a7328-f81f-11d2-ba4b-00a0c93ec93b';

export interface Partition {
  readonly offset: number;
  readonly size: number;
  /** As Linux counts: from 1, logical ones of an MBR from 5. */
  readonly number: number;
  /** An EFI system partition. */
  readonly efi: boolean;
}

export interface PartitionTable {
  readonly style: 'gpt' | 'mbr' | 'none';
  readonly partitions: readonly Partition[];
  /** True when the first sector has code. */
  readonly bootSector: boolean;
}

const fits = (disk: Disk, { offset, size }: Partition): boolean => offset > 0 && size > 0 && offset + size <= disk.size;

const gpt = async (disk: Disk): Promise<Partition[] | null> => {
  const header = await disk.read(SECTOR, SECTOR);
  if (header.toString('latin1', 0, 8) !== 'EFI PART') return null;
  const count = header.readUInt32LE(80);
  const size = header.readUInt32LE(84);
  if (size < 128 || size > 4096 || count > 1024) throw new Unreadable('its GPT is not valid');
  const at = Number(header.readBigUInt64LE(72)) * SECTOR;
  const entries = await disk.read(at, count * size);
  const found: Partition[] = [];
  for (let i = 0; i < count && found.length < MAX_PARTITIONS; i++) {
    const entry = entries.subarray(i * size, i * size + 128);
    const type = guidAt(entry, 0);
    if (/^[0-]+$/.test(type)) continue;
    const first = Number(entry.readBigUInt64LE(32));
    const last = Number(entry.readBigUInt64LE(40));
    found.push({ offset: first * SECTOR, size: (last - first + 1) * SECTOR, number: i + 1, efi: type === EFI_GUID });
  }
  return found;
};

const overlap = (a: Partition, b: Partition): boolean => a.offset < b.offset + b.size && b.offset < a.offset + a.size;

const entriesOf = (sector: Buffer) =>
  [0, 1, 2, 3].map((i) => {
    const at = 446 + 16 * i;
    return { type: sector[at + 4]!, start: sector.readUInt32LE(at + 8), count: sector.readUInt32LE(at + 12) };
  });

/** Primary partitions, and those in the chain of an extended one. */
const mbr = async (disk: Disk, sector: Buffer): Promise<Partition[]> => {
  const found: Partition[] = [];
  let logical = 5;
  const add = (number: number, type: number, start: number, count: number) =>
    found.push({ offset: start * SECTOR, size: count * SECTOR, number, efi: type === 0xef });
  for (const [i, { type, start, count }] of entriesOf(sector).entries()) {
    if (type === 0) continue;
    if (!EXTENDED.has(type)) {
      add(i + 1, type, start, count);
      continue;
    }
    let at = start;
    for (let chain = 0; at !== 0 && chain < MAX_PARTITIONS; chain++) {
      const table = await disk.read(at * SECTOR, SECTOR);
      if (table.readUInt16LE(510) !== 0xaa55) break;
      const [own, next] = entriesOf(table) as [ReturnType<typeof entriesOf>[0], ReturnType<typeof entriesOf>[0]];
      if (own.type !== 0) add(logical++, own.type, at + own.start, own.count);
      at = next.type === 0 || next.start === 0 ? 0 : start + next.start;
    }
  }
  return found.slice(0, MAX_PARTITIONS);
};

/**
 * How a disk is divided. One that is not is a file system, or nothing that is known.
 * @throws Unreadable where the same place is in two partitions: each would be looked at
 */
export const readPartitions = async (disk: Disk): Promise<PartitionTable> => {
  const whole = { style: 'none', partitions: [], bootSector: false } as const;
  if (disk.size < 2 * SECTOR) return whole;
  const sector = await disk.read(0, SECTOR);
  if (sector.readUInt16LE(510) !== 0xaa55) return whole;
  const bootSector = sector.subarray(0, 440).some((b) => b !== 0);
  const isFat = sector[0x10] === 2 && sector[0x15] === 0xf8;
  const used = entriesOf(sector).filter((e) => e.type !== 0);
  // The name of a file system may be left of what the disk was before: the code of NTFS is no table.
  const inside = (e: (typeof used)[0]) => e.start > 0 && (e.start + e.count) * SECTOR <= disk.size;
  const isNtfs = sector.toString('latin1', 3, 7) === 'NTFS' && !used.every((e) => e.type === 0xee || inside(e));
  if (isFat || isNtfs || used.length === 0) return { ...whole, bootSector };
  const table = used.some((e) => e.type === 0xee) ? await gpt(disk) : null;
  const partitions = (table ?? (await mbr(disk, sector))).filter((p) => fits(disk, p));
  if (partitions.some((p, i) => partitions.slice(0, i).some((other) => overlap(p, other))))
    throw new Unreadable('its partitions overlap');
  return { style: table ? 'gpt' : 'mbr', partitions, bootSector };
};
