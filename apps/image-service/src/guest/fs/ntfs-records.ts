import { type Disk, Unreadable } from '../disk.js';

export const damaged = () => new Unreadable('its NTFS file system is damaged');

/** A piece of a file record: of a file's bytes, its names, its index. */
export interface Attribute {
  readonly type: number;
  readonly name: string;
  readonly id: number;
  readonly flags: number;
  /** What lies in the record itself; null where `runs` tell where it lies. */
  readonly value: Buffer | null;
  /** Of the runs of this piece, the first cluster. */
  readonly from: number;
  readonly runs: Buffer;
  readonly size: number;
  /** What comes behind was reserved and not written: zeros. */
  readonly written: number;
}

export interface FileRecord {
  readonly folder: boolean;
  /** False for one that goes on with another. */
  readonly base: boolean;
  readonly attributes: readonly Attribute[];
}

/** Clusters of a file in a row; `at` null is a hole. */
export interface Run {
  readonly from: number;
  readonly count: number;
  readonly at: number | null;
}

const STRIDE = 512;
const IN_USE = 0x1;
const FOLDER = 0x2;
const END = 0xffffffff;
const MAX_RUNS = 65_536;

/** A block as it was before the last two bytes of each 512 were put aside to tell torn writes. */
const whole = (block: Buffer, magic: string): Buffer => {
  const b = Buffer.from(block);
  const at = b.readUInt16LE(4);
  const count = b.readUInt16LE(6);
  const sound =
    b.toString('latin1', 0, 4) === magic && (count - 1) * STRIDE === b.length && at + count * 2 <= STRIDE - 2;
  if (!sound) throw damaged();
  for (let i = 1; i < count; i++) {
    const end = i * STRIDE - 2;
    if (b.readUInt16LE(end) !== b.readUInt16LE(at)) throw damaged();
    b.copy(b, end, at + i * 2, at + i * 2 + 2);
  }
  return b;
};

/** @throws Unreadable */
export const indexBlock = (block: Buffer): Buffer => whole(block, 'INDX');

/** @throws Unreadable for one that is not in use, too */
export const fileRecord = (block: Buffer): FileRecord => {
  const b = whole(block, 'FILE');
  const flags = b.readUInt16LE(22);
  if (!(flags & IN_USE)) throw damaged();
  return {
    folder: (flags & FOLDER) !== 0,
    base: b.readBigUInt64LE(32) === 0n,
    attributes: [...attributesIn(b, b.readUInt16LE(20), Math.min(b.readUInt32LE(24), b.length))],
  };
};

function* attributesIn(b: Buffer, start: number, end: number): Generator<Attribute> {
  for (let at = start; at + 4 <= end && b.readUInt32LE(at) !== END; ) {
    if (at + 24 > end) throw damaged();
    const length = b.readUInt32LE(at + 4);
    if (length < 24 || length % 8 !== 0 || at + length > end) throw damaged();
    yield attributeOf(b.subarray(at, at + length));
    at += length;
  }
}

const attributeOf = (b: Buffer): Attribute => {
  const [nameAt, nameEnd] = [b.readUInt16LE(10), b.readUInt16LE(10) + b[9]! * 2];
  if (nameEnd > b.length) throw damaged();
  const common = {
    ...{ type: b.readUInt32LE(0), id: b.readUInt16LE(14), flags: b.readUInt16LE(12) },
    name: b.toString('utf16le', nameAt, nameEnd),
  };
  if (b[8] === 0) {
    const [size, at] = [b.readUInt32LE(16), b.readUInt16LE(20)];
    if (at + size > b.length) throw damaged();
    return { ...common, value: b.subarray(at, at + size), from: 0, runs: Buffer.alloc(0), size, written: size };
  }
  if (b.length < 64) throw damaged();
  const runs = b.readUInt16LE(32);
  if (runs > b.length) throw damaged();
  const number = (at: number) => Number(b.readBigUInt64LE(at));
  return { ...common, value: null, from: number(16), runs: b.subarray(runs), size: number(48), written: number(56) };
};

/** Up to eight bytes; what is beyond 53 bits is no place on any disk, which is found out where it is used. */
const unsigned = (b: Buffer): number => b.reduceRight((sum, byte) => sum * 256 + byte, 0);
const signed = (b: Buffer): number => unsigned(b) - (b.length > 0 && b.at(-1)! & 0x80 ? 256 ** b.length : 0);

/** Adds the runs of a piece to those before it. */
export const addRuns = ({ from, runs: b }: Attribute, runs: Run[]): void => {
  const last = runs.at(-1);
  let next = last ? last.from + last.count : 0;
  if (from !== next) throw damaged();
  let place = 0;
  for (let at = 0; at < b.length && b[at] !== 0; ) {
    const [counts, places] = [b[at]! & 0xf, b[at]! >> 4];
    const end = at + 1 + counts + places;
    if (counts > 8 || places > 8 || end > b.length || runs.length >= MAX_RUNS) throw damaged();
    const count = unsigned(b.subarray(at + 1, at + 1 + counts));
    place += signed(b.subarray(at + 1 + counts, end));
    if (count === 0 || !Number.isSafeInteger(next + count) || !Number.isSafeInteger(place) || place < 0)
      throw damaged();
    runs.push({ from: next, count, at: places === 0 ? null : place });
    next += count;
    at = end;
  }
};

/** Bytes that lie in a record. */
export const valueStream = (bytes: Buffer): Disk => ({
  size: bytes.length,
  read: async (offset, length) => {
    if (!(offset >= 0 && length >= 0 && offset + length <= bytes.length)) throw damaged();
    return bytes.subarray(offset, offset + length);
  },
});

/** Bytes that lie where runs say, as a disk. */
export class RunStream implements Disk {
  constructor(
    private readonly disk: Disk,
    private readonly clusterSize: number,
    private readonly runs: readonly Run[],
    readonly size: number,
    private readonly written: number,
  ) {
    if (!Number.isSafeInteger(size)) throw damaged();
  }

  async read(offset: number, length: number): Promise<Buffer> {
    if (!(offset >= 0 && length >= 0 && offset + length <= this.size)) throw damaged();
    const bytes = Buffer.alloc(length);
    const end = Math.min(offset + length, this.written);
    for (let at = offset; at < end; ) {
      const run = this.runAt(Math.floor(at / this.clusterSize));
      const within = at - run.from * this.clusterSize;
      const portion = Math.min(end - at, run.count * this.clusterSize - within);
      if (run.at !== null) (await this.disk.read(run.at * this.clusterSize + within, portion)).copy(bytes, at - offset);
      at += portion;
    }
    return bytes;
  }

  private runAt(cluster: number): Run {
    let [low, high] = [0, this.runs.length - 1];
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (this.runs[middle]!.from <= cluster) low = middle;
      else high = middle - 1;
    }
    const run = this.runs[low];
    if (!run || cluster >= run.from + run.count) throw damaged();
    return run;
  }
}
