import { type Disk, Unreadable } from '../disk.js';
import { MAX_NAMES, type Node, type Volume } from './volume.js';

const MAGIC = 0xef53;
const INCOMPAT = { filetype: 0x2, recover: 0x4, extents: 0x40, bits64: 0x80, mmp: 0x100, flexBg: 0x200 } as const;
const ALSO_KNOWN = 0x400 | 0x2000 | 0x4000 | 0x8000;
const KNOWN = Object.values(INCOMPAT).reduce((a, b) => a | b, ALSO_KNOWN);
const EXTENTS_FLAG = 0x80000;
const INLINE_FLAG = 0x10000000;
const ENCRYPTED_FLAG = 0x800;
const EXTENT_MAGIC = 0xf30a;
const MAX_DEPTH = 5;
const MAX_FOLDER = 16 * 1024 * 1024;
const KINDS: { readonly [mode: number]: Node['kind'] } = { 16384: 'folder', 32768: 'file', 40960: 'link' };

interface Layout {
  readonly blockSize: number;
  readonly inodeSize: number;
  readonly inodesPerGroup: number;
  readonly inodes: number;
  readonly descriptors: number;
  readonly descriptorSize: number;
}

const HAS_JOURNAL = 0x4;
/** Of the features that a reader has to know, those that ext3 has. */
const EXT3 = INCOMPAT.filetype | INCOMPAT.recover;

const kindOf = (b: Buffer): string => {
  if (b.readUInt32LE(96) & ~EXT3) return 'ext4';
  return b.readUInt32LE(92) & HAS_JOURNAL ? 'ext3' : 'ext2';
};

interface Inode extends Node {
  readonly flags: number;
  /** The 60 bytes that hold the map of its blocks, or a short link. */
  readonly map: Buffer;
}

/** A run of blocks of a file; `at` null is a hole. */
interface Run {
  readonly from: number;
  readonly count: number;
  readonly at: number | null;
}

const layoutOf = (b: Buffer, size: number): Layout => {
  const logSize = b.readUInt32LE(24);
  if (logSize > 6) throw new Unreadable('its ext file system has blocks of an unknown size');
  const blockSize = 1024 << logSize;
  const features = b.readUInt32LE(96);
  if (features & ~KNOWN) throw new Unreadable('its ext file system has features that are not known');
  const old = b.readUInt32LE(76) === 0;
  const inodeSize = old ? 128 : b.readUInt16LE(88);
  const inodesPerGroup = b.readUInt32LE(40);
  const descriptorSize = features & INCOMPAT.bits64 ? b.readUInt16LE(254) : 32;
  const sound =
    inodeSize >= 128 &&
    inodeSize <= blockSize &&
    inodesPerGroup > 0 &&
    descriptorSize >= 32 &&
    descriptorSize <= 1024 &&
    blockSize <= size;
  if (!sound) throw new Unreadable('its ext file system is damaged');
  const descriptors = (b.readUInt32LE(20) + 1) * blockSize;
  return { blockSize, inodeSize, inodesPerGroup, inodes: b.readUInt32LE(0), descriptors, descriptorSize };
};

/** ext2, ext3 and ext4. The journal is left alone: what it holds is at most the guest's last seconds. */
export class ExtVolume implements Volume {
  private constructor(
    private readonly disk: Disk,
    private readonly layout: Layout,
    readonly kind: string,
    readonly root: Node,
  ) {}

  static async detect(disk: Disk): Promise<boolean> {
    return disk.size >= 4096 && (await disk.read(1024 + 56, 2)).readUInt16LE(0) === MAGIC;
  }

  static async open(disk: Disk): Promise<ExtVolume> {
    const superblock = await disk.read(1024, 1024);
    const layout = layoutOf(superblock, disk.size);
    const kind = kindOf(superblock);
    const unrooted = new ExtVolume(disk, layout, kind, { id: 2, kind: 'folder', size: 0 });
    return new ExtVolume(disk, layout, kind, await unrooted.inode(2));
  }

  async lookup(folder: Node, name: string): Promise<Node | undefined> {
    for await (const [entry, id] of this.entries(folder)) if (entry === name) return this.inode(id);
    return undefined;
  }

  async names(folder: Node): Promise<string[]> {
    const names: string[] = [];
    for await (const [name] of this.entries(folder)) if (name !== '.' && name !== '..') names.push(name);
    return names;
  }

  async target(link: Node): Promise<string> {
    const inode = await this.inode(link.id);
    if (inode.size > 4096) throw new Unreadable('a link in it is too long');
    if (inode.size < 60 && !(inode.flags & EXTENTS_FLAG)) return inode.map.toString('utf8', 0, inode.size);
    const parts: Buffer[] = [];
    for await (const part of this.bytes(link)) parts.push(part);
    return Buffer.concat(parts).toString('utf8');
  }

  async *bytes(file: Node): AsyncGenerator<Buffer> {
    const inode = await this.inode(file.id);
    if (inode.flags & (INLINE_FLAG | ENCRYPTED_FLAG)) throw new Unreadable('a file in it is kept in an unknown way');
    const { blockSize } = this.layout;
    const chunk = Math.max(1, Math.floor((1024 * 1024) / blockSize));
    let left = inode.size;
    let block = 0;
    const zeros = function* (blocks: number): Generator<Buffer> {
      // A hole may be as long as a file can say it is: whoever reads has a limit.
      for (let done = 0; done < blocks && left > 0; done += chunk) {
        const part = Buffer.alloc(Math.min(left, Math.min(chunk, blocks - done) * blockSize));
        left -= part.length;
        yield part;
      }
    };
    for await (const run of this.runs(inode)) {
      if (left <= 0) return;
      if (run.from < block) throw new Unreadable('the map of a file in it is damaged');
      yield* zeros(run.from - block);
      if (run.at === null) yield* zeros(run.count);
      else
        for (let done = 0; done < run.count && left > 0; done += chunk) {
          const length = Math.min(left, Math.min(chunk, run.count - done) * blockSize);
          left -= length;
          yield await this.disk.read((run.at + done) * blockSize, length);
        }
      block = run.from + run.count;
    }
    yield* zeros(Math.ceil(left / blockSize));
  }

  private async *entries(folder: Node): AsyncGenerator<[name: string, id: number]> {
    let count = 0;
    let size = 0;
    const { blockSize } = this.layout;
    for await (const part of this.bytes(folder)) {
      size += part.length;
      if (size > MAX_FOLDER) throw new Unreadable('a folder in it is too large');
      for (let at = 0; at + 8 <= part.length; ) {
        const id = part.readUInt32LE(at);
        const length = part.readUInt16LE(at + 4);
        const nameLength = part[at + 6]!;
        // No entry crosses the end of its block.
        if (length < 8 || length % 4 !== 0 || nameLength + 8 > length || (at % blockSize) + length > blockSize)
          throw new Unreadable('a folder in it is damaged');
        if (id !== 0) {
          if (++count > MAX_NAMES) throw new Unreadable('a folder in it has too many names');
          yield [part.toString('utf8', at + 8, at + 8 + nameLength), id];
        }
        at += length;
      }
    }
  }

  private async inode(id: number): Promise<Inode> {
    const { inodes, inodesPerGroup, descriptors, descriptorSize, inodeSize, blockSize } = this.layout;
    if (id < 1 || id > inodes) throw new Unreadable('it names a file that cannot be');
    const group = Math.floor((id - 1) / inodesPerGroup);
    const descriptor = await this.disk.read(descriptors + group * descriptorSize, descriptorSize);
    const table = descriptor.readUInt32LE(8) + (descriptorSize >= 64 ? descriptor.readUInt32LE(0x28) * 2 ** 32 : 0);
    const b = await this.disk.read(table * blockSize + ((id - 1) % inodesPerGroup) * inodeSize, 128);
    const kind = KINDS[b.readUInt16LE(0) & 0xf000] ?? 'other';
    const size = b.readUInt32LE(4) + (kind === 'file' ? b.readUInt32LE(108) * 2 ** 32 : 0);
    return { id, kind, size, flags: b.readUInt32LE(32), map: Buffer.from(b.subarray(40, 100)) };
  }

  private runs(inode: Inode): AsyncGenerator<Run> {
    return inode.flags & EXTENTS_FLAG ? this.extents(inode.map, MAX_DEPTH) : this.pointers(inode);
  }

  private async *extents(node: Buffer, depth: number): AsyncGenerator<Run> {
    const entries = node.readUInt16LE(2);
    if (node.readUInt16LE(0) !== EXTENT_MAGIC || 12 + entries * 12 > node.length)
      throw new Unreadable('the map of a file in it is damaged');
    const leaf = node.readUInt16LE(6) === 0;
    if (!leaf && depth === 0) throw new Unreadable('the map of a file in it is too deep');
    for (let i = 0; i < entries; i++) {
      const at = 12 + i * 12;
      if (leaf) {
        const length = node.readUInt16LE(at + 4);
        const start = node.readUInt16LE(at + 6) * 2 ** 32 + node.readUInt32LE(at + 8);
        // Longer ones are reserved and not written yet: zeros.
        const written = length <= 32_768;
        yield { from: node.readUInt32LE(at), count: written ? length : length - 32_768, at: written ? start : null };
      } else {
        const block = node.readUInt16LE(at + 8) * 2 ** 32 + node.readUInt32LE(at + 4);
        const { blockSize } = this.layout;
        yield* this.extents(await this.disk.read(block * blockSize, blockSize), depth - 1);
      }
    }
  }

  private async *pointers({ map, size }: Inode): AsyncGenerator<Run> {
    const { blockSize } = this.layout;
    const last = Math.ceil(size / blockSize);
    let next = 0;
    const level = async function* (this: ExtVolume, table: Buffer, depth: number): AsyncGenerator<Run> {
      for (let i = 0; i + 4 <= table.length && next < last; i += 4) {
        const at = table.readUInt32LE(i);
        if (depth === 0) {
          yield { from: next, count: 1, at: at === 0 ? null : at };
          next++;
        } else if (at === 0) next += (blockSize / 4) ** depth;
        else yield* level.call(this, await this.disk.read(at * blockSize, blockSize), depth - 1);
      }
    };
    yield* level.call(this, map.subarray(0, 48), 0);
    for (const depth of [1, 2, 3])
      if (next < last) yield* level.call(this, map.subarray(44 + 4 * depth, 48 + 4 * depth), depth);
  }
}
