import type { ImageFormat } from '@omnivisor/contracts';
import { guidAt } from './guid.js';

/** Bytes of a stored image at any place. */
export interface StoredBytes {
  readonly size: number;
  /** Fewer at the end. */
  read(offset: number, length: number): Promise<Buffer>;
}

const SECTOR = 512;
const MIB = 1024 * 1024;
/** More than any honest image needs; each table is read once. */
const MAX_TABLE_BYTES = 512 * MIB;

class CutOff extends Error {}

/** Reads tables, and sees to it that they point to what is there. */
class Tables {
  private read = 0;
  private readonly seen = new Set<number>();

  constructor(private readonly bytes: StoredBytes) {}

  /** True the first time: many entries may point to one table. */
  first(offset: number): boolean {
    if (this.seen.has(offset)) return false;
    this.seen.add(offset);
    return true;
  }

  async get(offset: number, length: number): Promise<Buffer> {
    this.read += length;
    if (!Number.isSafeInteger(offset) || length < 0 || this.read > MAX_TABLE_BYTES) throw new CutOff();
    const got = await this.bytes.read(offset, length);
    if (got.length < length) throw new CutOff();
    return got;
  }

  /** @throws unless `length` bytes are there at `offset` */
  holds(offset: number, length = SECTOR): void {
    if (!Number.isSafeInteger(offset) || offset + length > this.bytes.size) throw new CutOff();
  }
}

const OFFSET = 0x00fffffffffffe00n;
const COMPRESSED = 1n << 62n;

const qcow2 = async (tables: Tables): Promise<void> => {
  const head = await tables.get(0, 104);
  const bits = head.readUInt32BE(20);
  const cluster = 2 ** bits;
  tables.holds(Number(head.readBigUInt64BE(48)), head.readUInt32BE(56) * cluster);
  const compressedOffset = (1n << BigInt(62 - (bits - 8))) - 1n;
  const l1 = await tables.get(Number(head.readBigUInt64BE(40)), head.readUInt32BE(36) * 8);
  for (let i = 0; i + 8 <= l1.length; i += 8) {
    const at = Number(l1.readBigUInt64BE(i) & OFFSET);
    if (at === 0 || !tables.first(at)) continue;
    const l2 = await tables.get(at, cluster);
    for (let j = 0; j + 8 <= l2.length; j += 8) {
      const entry = l2.readBigUInt64BE(j);
      if (entry === 0n) continue;
      const to = Number(entry & COMPRESSED ? entry & compressedOffset : entry & OFFSET);
      if (to !== 0) tables.holds(to, 1);
    }
  }
};

const vhd = async (tables: Tables): Promise<void> => {
  const header = await tables.get(SECTOR, 1024);
  if (header.toString('latin1', 0, 8) !== 'cxsparse') throw new CutOff();
  const block = header.readUInt32BE(32);
  const map = await tables.get(Number(header.readBigUInt64BE(16)), header.readUInt32BE(28) * 4);
  for (let i = 0; i + 4 <= map.length; i += 4) {
    const sector = map.readUInt32BE(i);
    // A bitmap of its sectors comes before each block; the footer comes after the last.
    if (sector !== 0xffffffff) tables.holds(sector * SECTOR, SECTOR + block);
  }
};

const REGIONS = 192 * 1024;
const BLOCK_MAP = '2dc27766-f623-4200-9d64-115e9bfd4a08';
const METADATA = '8b7ca206-4790-4b9a-b8fe-575f050f886e';
const FILE_PARAMETERS = 'caa16737-fa36-4d43-b3b6-33f0aa44e76b';

/** Entries of 32 bytes, each of which begins with a GUID. */
const entryOf = (table: Buffer, from: number, count: number, guid: string): Buffer => {
  for (let i = 0; i < Math.min(count, 2_047); i++) {
    const entry = table.subarray(from + i * 32, from + (i + 1) * 32);
    if (guidAt(entry, 0) === guid) return entry;
  }
  throw new CutOff();
};

const vhdx = async (tables: Tables): Promise<void> => {
  const regions = await tables.get(REGIONS, 64 * 1024);
  const region = (guid: string) => {
    const entry = entryOf(regions, 16, regions.readUInt32LE(8), guid);
    return tables.get(Number(entry.readBigUInt64LE(16)), entry.readUInt32LE(24));
  };
  const metadata = await region(METADATA);
  const parameters = entryOf(metadata, 32, metadata.readUInt16LE(10), FILE_PARAMETERS).readUInt32LE(16);
  const block = metadata.readUInt32LE(parameters);
  const map = await region(BLOCK_MAP);
  for (let j = 0; j + 8 <= map.length; j += 8) {
    const entry = map.readBigUInt64LE(j);
    if (Number(entry & 7n) >= 6) tables.holds(Number(entry >> 20n) * MIB, block);
  }
};

const vdi = async (tables: Tables): Promise<void> => {
  const head = await tables.get(0, SECTOR);
  const data = head.readUInt32LE(0x158);
  const block = head.readUInt32LE(0x178);
  const map = await tables.get(head.readUInt32LE(0x154), head.readUInt32LE(0x180) * 4);
  for (let i = 0; i + 4 <= map.length; i += 4) {
    const entry = map.readUInt32LE(i);
    // The two highest numbers stand for blocks that are not there.
    if (entry < 0xfffffffe) tables.holds(data + entry * block, block);
  }
};

const vmdk = async (tables: Tables, size: number): Promise<void> => {
  const head = await tables.get(0, SECTOR);
  const atEnd = head.readBigUInt64LE(56) === 0xffffffffffffffffn;
  const header = atEnd ? await tables.get(size - 2 * SECTOR, SECTOR) : head;
  const grain = header.readBigUInt64LE(20);
  const perTable = header.readUInt32LE(44);
  if (grain === 0n || perTable === 0 || perTable > 65_536) throw new CutOff();
  const count = (header.readBigUInt64LE(12) + grain * BigInt(perTable) - 1n) / (grain * BigInt(perTable));
  const directory = await tables.get(Number(header.readBigUInt64LE(56)) * SECTOR, Number(count) * 4);
  for (let i = 0; i + 4 <= directory.length; i += 4) {
    const at = directory.readUInt32LE(i);
    if (at === 0 || !tables.first(at)) continue;
    const table = await tables.get(at * SECTOR, perTable * 4);
    for (let j = 0; j + 4 <= table.length; j += 4) {
      const sector = table.readUInt32LE(j);
      // 1 stands for zeros.
      if (sector > 1) tables.holds(sector * SECTOR);
    }
  }
};

const CHECKS: { readonly [F in ImageFormat]?: (tables: Tables, size: number) => Promise<void> } = {
  ...{ qcow2, vhd, vhdx, vdi, vmdk, 'vmdk-sparse': vmdk },
};

/** Why an image is not whole: its tables point to what is not in it, as in an upload that was cut off; null when it is. */
export const tablesProblem = async (form: ImageFormat, bytes: StoredBytes): Promise<string | null> => {
  try {
    await CHECKS[form]?.(new Tables(bytes), bytes.size);
    return null;
  } catch (error) {
    if (!(error instanceof CutOff || error instanceof RangeError)) throw error;
    return 'Image failed safety checks: its tables point to data that is not in it; it may be cut off';
  }
};
