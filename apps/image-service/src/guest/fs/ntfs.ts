import { type Disk, Unreadable } from '../disk.js';
import {
  type Attribute,
  addRuns,
  damaged,
  type FileRecord,
  fileRecord,
  indexBlock,
  type Run,
  RunStream,
  valueStream,
} from './ntfs-records.js';
import { MAX_NAMES, type Node, type Volume } from './volume.js';

const MAGIC = 'NTFS    ';
const TYPE = { list: 0x20, volume: 0x70, data: 0x80, root: 0x90, allocation: 0xa0, reparse: 0xc0 } as const;
const FILE = { mft: 0, volume: 3, root: 5, upperCase: 10 } as const;
const INDEX = '$I30';
const COMPRESSED = 0x00ff;
const ENCRYPTED = 0x4000;
const DIRTY = 0x1;
/** Of a reparse point: it stands for something elsewhere, as a link or a junction does. */
const SURROGATE = 0x20000000;
const DOS_NAME = 2;
const UNITS = 65_536;
const MAX_DEPTH = 16;
const MAX_LIST = 256 * 1024;
const MAX_INDEX_BLOCKS = 16_384;
const MAX_INDEX_BLOCK = 65_536;
const CHUNK = 1024 * 1024;

interface Layout {
  readonly clusterSize: number;
  readonly recordSize: number;
  readonly mft: number;
}

interface Entry {
  readonly id: number;
  /** Null in the entry that ends a block. */
  readonly name: string | null;
  /** A short name of what has a long one, too. */
  readonly short: boolean;
  /** The block with the names that come before this one. */
  readonly below: number | null;
}

interface Index {
  readonly blockSize: number;
  readonly blocks: Disk | null;
  readonly root: readonly Entry[];
}

const isPower = (n: number): boolean => n >= 1 && Number.isInteger(Math.log2(n));

const layoutOf = (b: Buffer, size: number): Layout => {
  const sector = b.readUInt16LE(11);
  const perCluster = b[13]!;
  // Large ones are told by their logarithm, and small records too.
  const clusterSize = sector * (perCluster > 0x80 ? 2 ** (256 - perCluster) : perCluster);
  const perRecord = b.readInt8(64);
  const recordSize = perRecord < 0 ? 2 ** -perRecord : perRecord * clusterSize;
  const mft = Number(b.readBigUInt64LE(48)) * clusterSize;
  const sound =
    isPower(sector) &&
    sector >= 256 &&
    sector <= 4_096 &&
    isPower(clusterSize) &&
    clusterSize <= 2 * 1024 * 1024 &&
    isPower(recordSize) &&
    recordSize >= 512 &&
    recordSize <= 65_536 &&
    mft > 0 &&
    mft + recordSize <= size;
  if (!sound) throw damaged();
  return { clusterSize, recordSize, mft };
};

function* entriesIn(b: Buffer, header: number): Generator<Entry> {
  if (header + 16 > b.length) throw damaged();
  const end = header + b.readUInt32LE(header + 4);
  if (end > b.length) throw damaged();
  for (let at = header + b.readUInt32LE(header); ; ) {
    if (at + 16 > end) throw damaged();
    const length = b.readUInt16LE(at + 8);
    const flags = b.readUInt16LE(at + 12);
    if (length < 16 || length % 8 !== 0 || at + length > end) throw damaged();
    const below = flags & 1 ? Number(b.readBigUInt64LE(at + length - 8)) : null;
    if (flags & 2) {
      yield { id: 0, name: null, short: false, below };
      return;
    }
    const nameAt = at + 82;
    const nameEnd = nameAt + (length < 82 ? length : b[at + 80]! * 2);
    if (nameEnd > at + length) throw damaged();
    // The upper bits count how often the record was used.
    const id = b.readUIntLE(at, 6);
    yield { id, name: b.toString('utf16le', nameAt, nameEnd), short: b[at + 81] === DOS_NAME, below };
    at += length;
  }
}

/** NTFS. Its log is left alone: what it holds is at most the guest's last seconds. Links are not followed. */
export class NtfsVolume implements Volume {
  readonly kind = 'ntfs';
  private upperCase: Uint16Array | undefined;

  private constructor(
    private readonly disk: Disk,
    private readonly layout: Layout,
    private readonly mft: Disk,
    readonly root: Node,
  ) {}

  static async detect(disk: Disk): Promise<boolean> {
    return disk.size >= 4096 && (await disk.read(3, MAGIC.length)).toString('latin1') === MAGIC;
  }

  static async open(disk: Disk): Promise<NtfsVolume> {
    const layout = layoutOf(await disk.read(0, 512), disk.size);
    const root: Node = { id: FILE.root, kind: 'folder', size: 0 };
    // The table of all records is a file itself, which its first record and those that go on with that tell where it is.
    const first = new NtfsVolume(disk, layout, valueStream(await disk.read(layout.mft, layout.recordSize)), root);
    const { attributes } = await first.record(FILE.mft);
    const begun = new NtfsVolume(disk, layout, first.streamOf(attributes.filter((a) => a.type === TYPE.data)), root);
    const volume = new NtfsVolume(disk, layout, await begun.stream(FILE.mft, TYPE.data), root);
    if ((await volume.node(FILE.root)).kind !== 'folder') throw damaged();
    return volume;
  }

  async lookup(folder: Node, name: string): Promise<Node | undefined> {
    const index = await this.index(folder);
    const folded = await this.folding();
    const wanted = folded(name);
    let entries = index.root;
    for (let depth = 0; depth < MAX_DEPTH; depth++) {
      let below: number | null = null;
      for (const entry of entries) {
        const key = entry.name === null ? null : folded(entry.name);
        if (key === wanted) return this.node(entry.id);
        if (key !== null && key < wanted) continue;
        below = entry.below;
        break;
      }
      if (below === null) return undefined;
      entries = await this.block(index, below);
    }
    throw new Unreadable('a folder in it is too deep');
  }

  async names(folder: Node): Promise<string[]> {
    const index = await this.index(folder);
    const names: string[] = [];
    const seen = new Set<number>();
    const add = async (entries: readonly Entry[], depth: number): Promise<void> => {
      if (depth > MAX_DEPTH) throw new Unreadable('a folder in it is too deep');
      for (const { name, short, below } of entries) {
        if (below !== null) {
          if (seen.has(below) || seen.size >= MAX_INDEX_BLOCKS) throw damaged();
          seen.add(below);
          await add(await this.block(index, below), depth + 1);
        }
        if (name === null || name === '.' || short) continue;
        if (names.length >= MAX_NAMES) throw new Unreadable('a folder in it has too many names');
        names.push(name);
      }
    };
    await add(index.root, 0);
    return names;
  }

  target(): Promise<string> {
    throw new Unreadable('a link in it is not followed');
  }

  async *bytes(file: Node): AsyncGenerator<Buffer> {
    const stream = await this.open(file);
    for (let at = 0; at < stream.size; at += CHUNK) yield await stream.read(at, Math.min(CHUNK, stream.size - at));
  }

  /** The bytes of a file, in any order. @throws Unreadable for one that is compressed, encrypted, or kept elsewhere */
  async open(file: Node): Promise<Disk> {
    if ((await this.reparseTag(file.id)) !== null)
      throw new Unreadable('a file in it is kept in a way that cannot be read');
    return this.stream(file.id, TYPE.data);
  }

  /** True where it was not closed well. */
  async isDirty(): Promise<boolean> {
    const [volume] = await this.pieces(FILE.volume, TYPE.volume);
    if (!volume?.value || volume.value.length < 12) throw damaged();
    return (volume.value.readUInt16LE(10) & DIRTY) !== 0;
  }

  private async node(id: number): Promise<Node> {
    const { folder, base } = await this.record(id);
    if (!base) throw damaged();
    const tag = await this.reparseTag(id);
    if (tag !== null && tag & SURROGATE) return { id, kind: 'other', size: 0 };
    if (folder) return { id, kind: 'folder', size: 0 };
    const [data] = await this.pieces(id, TYPE.data);
    return data ? { id, kind: 'file', size: data.size } : { id, kind: 'other', size: 0 };
  }

  private async reparseTag(id: number): Promise<number | null> {
    const pieces = await this.pieces(id, TYPE.reparse);
    if (pieces.length === 0) return null;
    const stream = this.streamOf(pieces);
    if (stream.size < 4) throw damaged();
    return (await stream.read(0, 4)).readUInt32LE(0);
  }

  private async record(id: number): Promise<FileRecord> {
    const { recordSize } = this.layout;
    return fileRecord(await this.mft.read(id * recordSize, recordSize));
  }

  /** What a file has of a type: one piece, or more in the order of what they hold. */
  private async pieces(id: number, type: number, name = ''): Promise<Attribute[]> {
    const { attributes } = await this.record(id);
    const fits = (a: Attribute) => a.type === type && a.name === name;
    const list = attributes.find((a) => a.type === TYPE.list);
    if (!list) return attributes.filter(fits);
    if (list.size > MAX_LIST) throw new Unreadable('a file in it is in too many pieces');
    const b = await this.streamOf([list]).read(0, list.size);
    const pieces: Attribute[] = [];
    const last = { id, attributes };
    for (let at = 0; at < b.length; ) {
      if (at + 26 > b.length) throw damaged();
      const length = b.readUInt16LE(at + 4);
      const [nameAt, nameEnd] = [at + b[at + 7]!, at + b[at + 7]! + b[at + 6]! * 2];
      if (length < 26 || at + length > b.length || nameEnd > at + length) throw damaged();
      if (b.readUInt32LE(at) === type && b.toString('utf16le', nameAt, nameEnd) === name) {
        const holder = b.readUIntLE(at + 16, 6);
        if (holder !== last.id) Object.assign(last, { id: holder, attributes: (await this.record(holder)).attributes });
        const number = b.readUInt16LE(at + 24);
        const piece = last.attributes.find((a) => fits(a) && a.id === number);
        if (!piece) throw damaged();
        pieces.push(piece);
      }
      at += length;
    }
    return pieces;
  }

  private async stream(id: number, type: number, name = ''): Promise<Disk> {
    return this.streamOf(await this.pieces(id, type, name));
  }

  private streamOf(pieces: readonly Attribute[]): Disk {
    const [first] = pieces;
    if (!first) throw damaged();
    if (first.flags & COMPRESSED) throw new Unreadable('a file in it is compressed, which cannot be read');
    if (first.flags & ENCRYPTED) throw new Unreadable('a file in it is encrypted, which cannot be read');
    if (first.value) return valueStream(first.value);
    const runs: Run[] = [];
    for (const piece of pieces) addRuns(piece, runs);
    return new RunStream(this.disk, this.layout.clusterSize, runs, first.size, first.written);
  }

  private async index({ id }: Node): Promise<Index> {
    const [root] = await this.pieces(id, TYPE.root, INDEX);
    if (!root?.value || root.value.length < 32) throw damaged();
    const blockSize = root.value.readUInt32LE(8);
    if (!isPower(blockSize) || blockSize < 512 || blockSize > MAX_INDEX_BLOCK) throw damaged();
    const pieces = await this.pieces(id, TYPE.allocation, INDEX);
    const blocks = pieces.length > 0 ? this.streamOf(pieces) : null;
    return { blockSize, blocks, root: [...entriesIn(root.value, 16)] };
  }

  private async block({ blocks, blockSize }: Index, number: number): Promise<Entry[]> {
    // Where a block is smaller than a cluster, sectors are counted.
    const unit = blockSize < this.layout.clusterSize ? 512 : this.layout.clusterSize;
    if (!blocks) throw damaged();
    return [...entriesIn(indexBlock(await blocks.read(number * unit, blockSize)), 24)];
  }

  /** Brings names into the case that they are compared and sorted in: each file system has a table of its own. */
  private async folding(): Promise<(name: string) => string> {
    this.upperCase ??= await this.upperCaseTable();
    const table = this.upperCase;
    return (name) => String.fromCharCode(...Array.from({ length: name.length }, (_, i) => table[name.charCodeAt(i)]!));
  }

  private async upperCaseTable(): Promise<Uint16Array> {
    const stream = await this.stream(FILE.upperCase, TYPE.data);
    if (stream.size !== UNITS * 2) throw damaged();
    const b = await stream.read(0, UNITS * 2);
    return Uint16Array.from({ length: UNITS }, (_, i) => b.readUInt16LE(i * 2));
  }
}
