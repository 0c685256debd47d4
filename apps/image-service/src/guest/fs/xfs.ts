import { type Disk, Unreadable } from '../disk.js';
import { MAX_NAMES, type Node, type Volume } from './volume.js';

const MAX_FOLDER_BLOCKS = 4_096;
const MAX_DEPTH = 8;
/** Folder blocks lie below this offset; what comes above are their indexes. */
const LEAF_OFFSET = 32 * 1024 ** 3;
const KINDS: { readonly [mode: number]: Node['kind'] } = { 16384: 'folder', 32768: 'file', 40960: 'link' };
const FORMAT = { local: 1, extents: 2, btree: 3 } as const;
const DATA_MAGICS = new Set(['XD2B', 'XD2D', 'XDB3', 'XDD3']);

interface Layout {
  readonly blockSize: number;
  readonly folderBlock: number;
  readonly inodeSize: number;
  readonly inodesPerBlockLog: number;
  readonly agBlocks: number;
  readonly agBlocksLog: number;
  readonly agCount: number;
  readonly v5: boolean;
  /** Folder entries say what kind of node they name. */
  readonly fileTypes: boolean;
}

interface Inode extends Node {
  readonly format: number;
  readonly extents: number;
  /** Where its data, or the map of its blocks, lies in the inode. */
  readonly fork: Buffer;
}

interface Run {
  readonly from: number;
  readonly at: number;
  readonly count: number;
  readonly written: boolean;
}

const damaged = () => new Unreadable('its XFS file system is damaged');

const layoutOf = (b: Buffer): Layout & { root: number } => {
  const blockSize = b.readUInt32BE(4);
  const version = b.readUInt16BE(100) & 0xf;
  const v5 = version === 5;
  const inodeSize = b.readUInt16BE(104);
  const logs = { folder: b[192]!, block: b[120]!, inodesPerBlock: b[123]!, ag: b[124]! };
  const sound =
    (version === 4 || v5) &&
    blockSize >= 512 &&
    blockSize <= 65_536 &&
    blockSize === 2 ** logs.block &&
    inodeSize >= 256 &&
    inodeSize <= 2_048 &&
    logs.folder <= 8 &&
    logs.ag <= 32 &&
    logs.inodesPerBlock <= 8;
  if (!sound) throw damaged();
  const incompatible = v5 ? b.readUInt32BE(216) : 0;
  const features2 = b.readUInt32BE(200);
  return {
    ...{ blockSize, inodeSize, v5, folderBlock: blockSize << logs.folder },
    ...{ inodesPerBlockLog: logs.inodesPerBlock, agBlocksLog: logs.ag },
    ...{ agBlocks: b.readUInt32BE(84), agCount: b.readUInt32BE(88) },
    fileTypes: v5 ? (incompatible & 1) !== 0 : (features2 & 0x200) !== 0,
    root: Number(b.readBigUInt64BE(56)),
  };
};

/** XFS, versions 4 and 5. */
export class XfsVolume implements Volume {
  readonly kind = 'xfs';

  private constructor(
    private readonly disk: Disk,
    private readonly layout: Layout,
    readonly root: Node,
  ) {}

  static async detect(disk: Disk): Promise<boolean> {
    return disk.size >= 65_536 && (await disk.read(0, 4)).toString('latin1') === 'XFSB';
  }

  static async open(disk: Disk): Promise<XfsVolume> {
    const { root, ...layout } = layoutOf(await disk.read(0, 512));
    const unrooted = new XfsVolume(disk, layout, { id: root, kind: 'folder', size: 0 });
    return new XfsVolume(disk, layout, await unrooted.inode(root));
  }

  async lookup(folder: Node, name: string): Promise<Node | undefined> {
    for await (const [entry, id] of this.entries(folder)) if (entry === name) return this.inode(id);
    return undefined;
  }

  async names(folder: Node): Promise<string[]> {
    const names: string[] = [];
    for await (const [name] of this.entries(folder)) names.push(name);
    return names;
  }

  async target(link: Node): Promise<string> {
    const inode = await this.inode(link.id);
    if (inode.size > 4_096) throw damaged();
    if (inode.format === FORMAT.local) return inode.fork.toString('utf8', 0, inode.size);
    const [first] = await this.runs(inode);
    if (!first) throw damaged();
    const block = await this.disk.read(this.blockOffset(first.at), Math.min(this.layout.blockSize, 8_192));
    const header = this.layout.v5 ? 56 : 0;
    return block.toString('utf8', header, Math.min(block.length, header + inode.size));
  }

  async *bytes(file: Node): AsyncGenerator<Buffer> {
    const inode = await this.inode(file.id);
    const { blockSize } = this.layout;
    const chunk = Math.max(1, Math.floor((1024 * 1024) / blockSize));
    let left = inode.size;
    let block = 0;
    const pieces = function* (blocks: number): Generator<[from: number, length: number]> {
      for (let done = 0; done < blocks && left > 0; done += chunk) {
        const length = Math.min(left, Math.min(chunk, blocks - done) * blockSize);
        left -= length;
        yield [done, length];
      }
    };
    if (inode.format === FORMAT.local) {
      yield inode.fork.subarray(0, left);
      return;
    }
    for (const run of await this.runs(inode)) {
      if (run.from < block) throw damaged();
      for (const [, length] of pieces(run.from - block)) yield Buffer.alloc(length);
      for (const [done, length] of pieces(run.count))
        yield run.written ? await this.disk.read(this.blockOffset(run.at + done), length) : Buffer.alloc(length);
      block = run.from + run.count;
    }
    for (const [, length] of pieces(Math.ceil(left / blockSize))) yield Buffer.alloc(length);
  }

  private async *entries(folder: Node): AsyncGenerator<[name: string, id: number]> {
    const inode = await this.inode(folder.id);
    let count = 0;
    const counted = (entry: [string, number]) => {
      if (++count > MAX_NAMES) throw new Unreadable('a folder in it has too many names');
      return entry;
    };
    if (inode.format === FORMAT.local) {
      for (const entry of this.shortEntries(inode)) yield counted(entry);
      return;
    }
    const { blockSize, folderBlock } = this.layout;
    const perBlock = folderBlock / blockSize;
    let blocks = 0;
    for (const run of await this.runs(inode)) {
      if (run.from * blockSize >= LEAF_OFFSET) return;
      for (let done = 0; done + perBlock <= run.count; done += perBlock) {
        if (++blocks > MAX_FOLDER_BLOCKS) throw new Unreadable('a folder in it is too large');
        const block = await this.disk.read(this.blockOffset(run.at + done), folderBlock);
        for (const entry of this.blockEntries(block)) yield counted(entry);
      }
    }
  }

  private *shortEntries(inode: Inode): Generator<[string, number]> {
    const { fork } = inode;
    const wide = fork[1]! > 0;
    const entries = wide ? fork[1]! : fork[0]!;
    const idSize = wide ? 8 : 4;
    let at = 2 + idSize;
    for (let i = 0; i < entries; i++) {
      const length = fork[at]!;
      const end = at + 3 + length + (this.layout.fileTypes ? 1 : 0);
      if (length === 0 || end + idSize > fork.length) throw damaged();
      const id = wide ? Number(fork.readBigUInt64BE(end)) : fork.readUInt32BE(end);
      yield [fork.toString('utf8', at + 3, at + 3 + length), id];
      at = end + idSize;
    }
  }

  private *blockEntries(block: Buffer): Generator<[string, number]> {
    const magic = block.toString('latin1', 0, 4);
    if (!DATA_MAGICS.has(magic)) throw damaged();
    // A folder of one block ends in its index and the number of entries in that.
    const single = magic === 'XD2B' || magic === 'XDB3';
    const tail = single ? 8 + block.readUInt32BE(block.length - 8) * 8 : 0;
    const end = block.length - tail;
    const type = this.layout.fileTypes ? 1 : 0;
    for (let at = this.layout.v5 ? 64 : 16; at + 12 <= end; ) {
      if (block.readUInt16BE(at) === 0xffff) {
        const free = block.readUInt16BE(at + 2);
        if (free < 8 || free % 8 !== 0) throw damaged();
        at += free;
        continue;
      }
      const length = block[at + 8]!;
      if (length === 0 || at + 9 + length > end) throw damaged();
      const name = block.toString('utf8', at + 9, at + 9 + length);
      if (name !== '.' && name !== '..') yield [name, Number(block.readBigUInt64BE(at))];
      at += Math.ceil((9 + length + type + 2) / 8) * 8;
    }
  }

  private async inode(id: number): Promise<Inode> {
    const { agBlocks, agBlocksLog, agCount, inodesPerBlockLog, blockSize, inodeSize } = this.layout;
    const perGroup = 2 ** (agBlocksLog + inodesPerBlockLog);
    const group = Math.floor(id / perGroup);
    const block = Math.floor((id % perGroup) / 2 ** inodesPerBlockLog);
    if (!Number.isSafeInteger(id) || group >= agCount || block >= agBlocks) throw damaged();
    const offset = (group * agBlocks + block) * blockSize + (id % 2 ** inodesPerBlockLog) * inodeSize;
    const b = await this.disk.read(offset, inodeSize);
    if (b.toString('latin1', 0, 2) !== 'IN') throw damaged();
    const version = b[4]!;
    const start = version >= 3 ? 176 : 100;
    const attributes = b[82]! * 8;
    const end = attributes === 0 ? inodeSize : Math.min(inodeSize, start + attributes);
    // Large counters move the number of extents to another field.
    const large = version >= 3 && (b.readBigUInt64BE(120) & 0x10n) !== 0n;
    return {
      id,
      kind: KINDS[b.readUInt16BE(2) & 0xf000] ?? 'other',
      size: Number(b.readBigUInt64BE(56)),
      format: b[5]!,
      extents: large ? Number(b.readBigUInt64BE(24)) : b.readUInt32BE(76),
      fork: Buffer.from(b.subarray(start, end)),
    };
  }

  private async runs(inode: Inode): Promise<Run[]> {
    const runs: Run[] = [];
    if (inode.format === FORMAT.extents) this.addRuns(inode.fork, 0, inode.extents, runs);
    else if (inode.format === FORMAT.btree) await this.addTree(inode, runs);
    else throw damaged();
    return runs;
  }

  private async addTree({ fork }: Inode, runs: Run[]): Promise<void> {
    const level = fork.readUInt16BE(0);
    const count = fork.readUInt16BE(2);
    const most = Math.floor((fork.length - 4) / 16);
    if (level < 1 || level > MAX_DEPTH || count > most) throw damaged();
    for (let i = 0; i < count; i++)
      await this.addNode(Number(fork.readBigUInt64BE(4 + most * 8 + i * 8)), level - 1, runs);
  }

  private async addNode(block: number, level: number, runs: Run[]): Promise<void> {
    const { blockSize, v5 } = this.layout;
    const node = await this.disk.read(this.blockOffset(block), blockSize);
    const header = v5 ? 72 : 24;
    const count = node.readUInt16BE(6);
    if (!['BMAP', 'BMA3'].includes(node.toString('latin1', 0, 4)) || node.readUInt16BE(4) !== level) throw damaged();
    if (level === 0) {
      this.addRuns(node, header, count, runs);
      return;
    }
    const most = Math.floor((blockSize - header) / 16);
    if (count > most) throw damaged();
    for (let i = 0; i < count; i++)
      await this.addNode(Number(node.readBigUInt64BE(header + most * 8 + i * 8)), level - 1, runs);
  }

  private addRuns(bytes: Buffer, from: number, count: number, runs: Run[]): void {
    if (from + count * 16 > bytes.length || runs.length + count > MAX_NAMES) throw damaged();
    for (let i = 0; i < count; i++) {
      const high = bytes.readBigUInt64BE(from + i * 16);
      const low = bytes.readBigUInt64BE(from + i * 16 + 8);
      runs.push({
        written: high >> 63n === 0n,
        from: Number((high >> 9n) & ((1n << 54n) - 1n)),
        at: Number(((high & 0x1ffn) << 43n) | (low >> 21n)),
        count: Number(low & 0x1fffffn),
      });
    }
  }

  /** Block numbers have the allocation group in their upper bits. */
  private blockOffset(block: number): number {
    const { agBlocks, agBlocksLog, agCount, blockSize } = this.layout;
    const group = Math.floor(block / 2 ** agBlocksLog);
    const within = block % 2 ** agBlocksLog;
    if (group >= agCount || within >= agBlocks) throw damaged();
    return (group * agBlocks + within) * blockSize;
  }
}
