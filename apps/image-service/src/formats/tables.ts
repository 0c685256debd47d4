import { promisify } from 'node:util';
import { inflateRaw } from 'node:zlib';
import type { ImageFormat } from '@omnivisor/contracts';
import { DYNAMIC, vhdFooterSize } from './vhd.js';
import { FILE_PARAMETERS, itemsOf, METADATA_REGION, REGION_TABLE, REGION_TABLE_BYTES, regionsOf } from './vhdx.js';

/** Bytes of a stored image at any place. */
export interface StoredBytes {
  readonly size: number;
  /** Fewer at the end. */
  read(offset: number, length: number): Promise<Buffer>;
}

const SECTOR = 512;
const MIB = 1024 * 1024;
/** More than any honest image needs, all tables together. */
const MAX_TABLE_BYTES = 512 * MIB;
/** What is read of a table at a time; between two of them others have their turn. */
const PIECE = MIB;
/** Grains near the end of an image that are asked for their length; an honest one has a few hundred. */
const MAX_GRAINS = 4_096;
/** Clusters that end in the last sector of an image, and are unpacked; an honest one has as many as are of ten bytes. */
const MAX_CLUSTERS = 64;
/** QEMU's own limits. */
const QCOW2_L1_BYTES = 32 * MIB;
const QCOW2_REFCOUNT_BYTES = 8 * MIB;

class CutOff extends Error {}
const inflated = promisify(inflateRaw);

/** Reads tables, and sees to it that they point to what is there. */
class Tables {
  private read = 0;
  private readonly seen = new Set<number>();
  private readonly last = new Set<number>();

  constructor(readonly bytes: StoredBytes) {}

  /** True the first time: many entries may point to one table. */
  first(offset: number): boolean {
    if (this.seen.has(offset)) return false;
    this.seen.add(offset);
    return true;
  }

  /** Something small. */
  async get(offset: number, length: number): Promise<Buffer> {
    if (length > PIECE) throw new CutOff();
    return this.piece(offset, length);
  }

  /** True once for each stretch near the end that only its own bytes can tell to be whole. @throws when they are more than `most` */
  isNewAtEnd(offset: number, most: number): boolean {
    if (this.last.has(offset)) return false;
    if (this.last.add(offset).size > most) throw new CutOff();
    return true;
  }

  /** A table of `count` entries of `width` bytes, in pieces: `base` is the number of the first one in a piece. */
  async *entries(
    offset: number,
    count: number,
    width: 4 | 8,
  ): AsyncGenerator<{ readonly piece: Buffer; readonly base: number; readonly count: number }> {
    const most = PIECE / width;
    for (let base = 0; base < count; base += most) {
      const here = Math.min(most, count - base);
      yield { piece: await this.piece(offset + base * width, here * width), base, count: here };
    }
  }

  /** @throws unless `length` bytes are there at `offset` */
  holds(offset: number, length: number): void {
    if (!Number.isSafeInteger(offset) || offset + length > this.bytes.size) throw new CutOff();
  }

  private async piece(offset: number, length: number): Promise<Buffer> {
    this.read += length;
    if (!Number.isSafeInteger(offset) || length < 0 || this.read > MAX_TABLE_BYTES) throw new CutOff();
    const got = await this.bytes.read(offset, length);
    if (got.length < length) throw new CutOff();
    return got;
  }
}

const LOW = 2 ** 32;
/** Of the upper half of an entry. */
const COMPRESSED = 0x40000000;
/** Of the lower half: it reads as zeros, whatever it points to. */
const ZERO = 1;
const ZSTD = 1;
/** Where an entry points to: its flags are in the highest 8 bits and the lowest 9. */
const offsetOf = (high: number, low: number) => (high & 0xffffff) * LOW + low - (low % SECTOR);

/**
 * A compressed cluster fills whole sectors. Some writers end the file with the last byte of a deflated one; then only
 * unpacking it shows that none is missing.
 */
const holdsPacked = async (tables: Tables, at: number, length: number, cluster: number, zstd: boolean) => {
  if (at + length <= tables.bytes.size || !tables.isNewAtEnd(at, MAX_CLUSTERS)) return;
  const left = tables.bytes.size - at;
  if (zstd || left <= 0 || length - left >= SECTOR) throw new CutOff();
  const packed = await tables.get(at, left);
  try {
    if ((await inflated(packed, { maxOutputLength: cluster })).length === cluster) return;
  } catch {
    // Said below, and no more is known of it.
  }
  throw new CutOff();
};

const qcow2 = async (tables: Tables): Promise<void> => {
  const head = await tables.get(0, 112);
  const version = head.readUInt32BE(4);
  const zstd = version > 2 && head.readUInt32BE(100) > 104 && head[104] === ZSTD;
  const size = Number(head.readBigUInt64BE(24));
  const bits = head.readUInt32BE(20);
  const cluster = 2 ** bits;
  const perTable = cluster / 8;
  const refcounts = head.readUInt32BE(56) * cluster;
  const l1 = head.readUInt32BE(36);
  if (refcounts > QCOW2_REFCOUNT_BYTES || l1 * 8 > QCOW2_L1_BYTES) throw new CutOff();
  tables.holds(Number(head.readBigUInt64BE(48)), refcounts);
  // Where the offset ends and the number of sectors begins, in the upper half of a compressed entry.
  const offsetEnd = 2 ** (62 - (bits - 8) - 32);
  const l1Offset = Number(head.readBigUInt64BE(40));
  for await (const { piece, base, count } of tables.entries(l1Offset, l1, 8))
    for (let i = 0; i < count; i++) {
      const at = offsetOf(piece.readUInt32BE(i * 8), piece.readUInt32BE(i * 8 + 4));
      if (at === 0 || !tables.first(at)) continue;
      // Else there could be a table at each sector, and each is read.
      if (at % cluster !== 0) throw new CutOff();
      for await (const table of tables.entries(at, perTable, 8))
        for (let j = 0; j < table.count; j++) {
          const high = table.piece.readUInt32BE(j * 8);
          const low = table.piece.readUInt32BE(j * 8 + 4);
          if (high & COMPRESSED) {
            const to = (high % offsetEnd) * LOW + low;
            const sectors = Math.floor((high % COMPRESSED) / offsetEnd) + 1;
            await holdsPacked(tables, to, sectors * SECTOR - (to % SECTOR), cluster, zstd);
            continue;
          }
          const to = offsetOf(high, low);
          if (to === 0 || (version > 2 && low & ZERO)) continue;
          // The last one as far as the disk reaches.
          const left = size - ((base + i) * perTable + table.base + j) * cluster;
          if (left > 0) tables.holds(to, Math.min(cluster, left));
        }
    }
};

const vhd = async (tables: Tables): Promise<void> => {
  const header = await tables.get(SECTOR, 1024);
  if (header.toString('latin1', 0, 8) !== 'cxsparse') throw new CutOff();
  const [first, last] = [await tables.get(0, SECTOR), await tables.get(tables.bytes.size - SECTOR, SECTOR)];
  const size = vhdFooterSize(last, DYNAMIC);
  if (size === null || size !== vhdFooterSize(first, DYNAMIC)) throw new CutOff();
  const block = header.readUInt32BE(32);
  const bitmap = Math.ceil(block / SECTOR / 8 / SECTOR) * SECTOR;
  const map = Number(header.readBigUInt64BE(16));
  for await (const { piece, count } of tables.entries(map, header.readUInt32BE(28), 4))
    for (let i = 0; i < count; i++) {
      const sector = piece.readUInt32BE(i * 4);
      // A bitmap of its sectors comes before each block; the footer comes after the last.
      if (sector !== 0xffffffff) tables.holds(sector * SECTOR, bitmap + block + SECTOR);
    }
};

const BLOCK_MAP = '2dc27766-f623-4200-9d64-115e9bfd4a08';

const found = ([at]: readonly number[]): number => {
  if (at === undefined) throw new CutOff();
  return at;
};

const vhdx = async (tables: Tables): Promise<void> => {
  const regions = await tables.get(REGION_TABLE, REGION_TABLE_BYTES);
  const region = (guid: string) => {
    const at = found(regionsOf(regions, guid));
    return { offset: Number(regions.readBigUInt64LE(at + 16)), length: regions.readUInt32LE(at + 24) };
  };
  const { offset, length } = region(METADATA_REGION);
  const metadata = await tables.get(offset, Math.min(length, PIECE));
  const parameters = metadata.readUInt32LE(found(itemsOf(metadata, FILE_PARAMETERS)) + 16);
  const block = metadata.readUInt32LE(parameters);
  const map = region(BLOCK_MAP);
  for await (const { piece, count } of tables.entries(map.offset, Math.floor(map.length / 8), 8))
    for (let i = 0; i < count; i++) {
      const low = piece.readUInt32LE(i * 8);
      // Its number in MiB comes after 20 bits, of which three are the state.
      if ((low & 7) >= 6) tables.holds((piece.readUInt32LE(i * 8 + 4) * 2 ** 12 + (low >>> 20)) * MIB, block);
    }
};

const vdi = async (tables: Tables): Promise<void> => {
  const head = await tables.get(0, SECTOR);
  const data = head.readUInt32LE(0x158);
  const block = head.readUInt32LE(0x178);
  for await (const { piece, count } of tables.entries(head.readUInt32LE(0x154), head.readUInt32LE(0x180), 4))
    for (let i = 0; i < count; i++) {
      const entry = piece.readUInt32LE(i * 4);
      // The two highest numbers stand for blocks that are not there.
      if (entry < 0xfffffffe) tables.holds(data + entry * block, block);
    }
};

const COMPRESSED_GRAINS = 0x10000;
/** Before a compressed grain: its place on the disk, and its length. */
const GRAIN_MARKER = 12;

/** Only those near the end are asked for their length: no packed grain is twice as long as an unpacked one. */
const holdsGrain = async (tables: Tables, at: number, length: number): Promise<void> => {
  if (at + GRAIN_MARKER + 2 * length <= tables.bytes.size || !tables.isNewAtEnd(at, MAX_GRAINS)) return;
  const marker = await tables.get(at, GRAIN_MARKER);
  tables.holds(at, GRAIN_MARKER + marker.readUInt32LE(8));
};

const vmdk = async (tables: Tables): Promise<void> => {
  const head = await tables.get(0, SECTOR);
  const atEnd = head.readBigUInt64LE(56) === 0xffffffffffffffffn;
  const header = atEnd ? await tables.get(tables.bytes.size - 2 * SECTOR, SECTOR) : head;
  const grain = header.readBigUInt64LE(20);
  const perTable = header.readUInt32LE(44);
  if (grain === 0n || perTable === 0 || perTable > 65_536) throw new CutOff();
  const packed = (header.readUInt32LE(8) & COMPRESSED_GRAINS) !== 0;
  const capacity = Number(header.readBigUInt64LE(12));
  const directories = Number((header.readBigUInt64LE(12) + grain * BigInt(perTable) - 1n) / (grain * BigInt(perTable)));
  const directory = Number(header.readBigUInt64LE(56)) * SECTOR;
  for await (const { piece, base, count } of tables.entries(directory, directories, 4))
    for (let i = 0; i < count; i++) {
      const at = piece.readUInt32LE(i * 4);
      if (at === 0 || !tables.first(at)) continue;
      for await (const table of tables.entries(at * SECTOR, perTable, 4))
        for (let j = 0; j < table.count; j++) {
          const sector = table.piece.readUInt32LE(j * 4);
          // 1 stands for zeros.
          if (sector <= 1) continue;
          // The last one as far as the disk reaches.
          const left = capacity - ((base + i) * perTable + table.base + j) * Number(grain);
          if (packed) await holdsGrain(tables, sector * SECTOR, Number(grain) * SECTOR);
          else if (left > 0) tables.holds(sector * SECTOR, Math.min(Number(grain), left) * SECTOR);
        }
    }
};

const CHECKS: { readonly [F in ImageFormat]?: (tables: Tables) => Promise<void> } = {
  ...{ qcow2, vhd, vhdx, vdi, vmdk, 'vmdk-sparse': vmdk },
};

/** Why an image is not whole: its tables point to what is not in it, as in an upload that was cut off; null when it is. */
export const tablesProblem = async (form: ImageFormat, bytes: StoredBytes): Promise<string | null> => {
  try {
    await CHECKS[form]?.(new Tables(bytes));
    return null;
  } catch (error) {
    if (!(error instanceof CutOff || error instanceof RangeError)) throw error;
    return 'Image failed safety checks: its tables point to data that is not in it; it may be cut off';
  }
};
