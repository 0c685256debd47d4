import { type Disk, Unreadable } from '../disk.js';
import { MAX_NAMES, type Node, type Volume } from './volume.js';

const ENTRY = 32;
const LONG_NAME = 0x0f;
const FOLDER = 0x10;
const LABEL = 0x08;
const FAT_WINDOW = 32 * 1024;
const MAX_FOLDER = 4 * 1024 * 1024;
const POWERS = new Set([1, 2, 4, 8, 16, 32, 64, 128]);

interface Layout {
  readonly bits: 12 | 16 | 32;
  readonly clusterSize: number;
  readonly clusters: number;
  readonly fat: number;
  readonly data: number;
  /** Offset and size of the root folder where it is no chain of clusters. */
  readonly fixedRoot: { readonly offset: number; readonly size: number } | null;
  readonly rootCluster: number;
}

const layoutOf = (b: Buffer): Layout | null => {
  const sector = b.readUInt16LE(11);
  const perCluster = b[13]!;
  const reserved = b.readUInt16LE(14);
  const fats = b[16]!;
  const rootEntries = b.readUInt16LE(17);
  const sectors = b.readUInt16LE(19) || b.readUInt32LE(32);
  const perFat = b.readUInt16LE(22) || b.readUInt32LE(36);
  const sound = [512, 1024, 2048, 4096].includes(sector) && POWERS.has(perCluster) && reserved > 0 && perFat > 0;
  if (!sound || fats < 1 || fats > 2 || b.readUInt16LE(510) !== 0xaa55) return null;
  const rootSectors = Math.ceil((rootEntries * ENTRY) / sector);
  const first = reserved + fats * perFat + rootSectors;
  const clusters = Math.floor((sectors - first) / perCluster);
  if (clusters < 1) return null;
  const bits = clusters < 4_085 ? 12 : clusters < 65_525 ? 16 : 32;
  return {
    ...{ bits, clusters, clusterSize: perCluster * sector, fat: reserved * sector, data: first * sector },
    fixedRoot: bits === 32 ? null : { offset: (reserved + fats * perFat) * sector, size: rootSectors * sector },
    rootCluster: bits === 32 ? b.readUInt32LE(44) : 0,
  };
};

/** FAT12, FAT16 and FAT32 with long names; names are compared without regard to case. */
export class FatVolume implements Volume {
  readonly kind = 'vfat';
  readonly root: Node;
  private fatWindow: { at: number; bytes: Buffer } = { at: 0, bytes: Buffer.alloc(0) };

  private constructor(
    private readonly disk: Disk,
    private readonly layout: Layout,
  ) {
    this.root = { id: layout.rootCluster, kind: 'folder', size: 0 };
  }

  static async detect(disk: Disk): Promise<boolean> {
    return disk.size >= 4096 && layoutOf(await disk.read(0, 512)) !== null;
  }

  static async open(disk: Disk): Promise<FatVolume> {
    const layout = layoutOf(await disk.read(0, 512));
    if (!layout) throw new Unreadable('its FAT file system is damaged');
    return new FatVolume(disk, layout);
  }

  async lookup(folder: Node, name: string): Promise<Node | undefined> {
    for await (const [entry, node] of this.entries(folder)) if (entry.toLowerCase() === name.toLowerCase()) return node;
    return undefined;
  }

  async names(folder: Node): Promise<string[]> {
    const names: string[] = [];
    for await (const [name] of this.entries(folder)) names.push(name);
    return names;
  }

  target(): Promise<string> {
    throw new Unreadable('FAT has no links');
  }

  async *bytes(file: Node): AsyncGenerator<Buffer> {
    let left = file.size;
    for await (const part of this.chain(file.id)) {
      if (left <= 0) return;
      yield part.subarray(0, left);
      left -= part.length;
    }
    if (left > 0) throw new Unreadable('a file in it is cut off');
  }

  private async *contents(folder: Node): AsyncGenerator<Buffer> {
    const { fixedRoot } = this.layout;
    if (folder.id === 0 && fixedRoot) {
      if (fixedRoot.size > 0) yield await this.disk.read(fixedRoot.offset, fixedRoot.size);
    } else yield* this.chain(folder.id === 0 ? this.layout.rootCluster : folder.id);
  }

  private async *entries(folder: Node): AsyncGenerator<[name: string, node: Node]> {
    let size = 0;
    let count = 0;
    let long = '';
    for await (const part of this.contents(folder)) {
      size += part.length;
      if (size > MAX_FOLDER) throw new Unreadable('a folder in it is too large');
      for (let at = 0; at + ENTRY <= part.length; at += ENTRY) {
        const e = part.subarray(at, at + ENTRY);
        if (e[0] === 0) return;
        const attributes = e[11]!;
        if (attributes === LONG_NAME && e[0] !== 0xe5) long = (e[0]! & 0x40 ? '' : long).slice(0, 512);
        if (attributes === LONG_NAME) {
          if (e[0] !== 0xe5) long = longPart(e) + long;
          continue;
        }
        const name = long !== '' ? long : shortName(e);
        long = '';
        if (e[0] === 0xe5 || attributes & LABEL || name === '.' || name === '..') continue;
        if (++count > MAX_NAMES) throw new Unreadable('a folder in it has too many names');
        const id = (this.layout.bits === 32 ? e.readUInt16LE(20) * 65_536 : 0) + e.readUInt16LE(26);
        yield [name, { id, kind: attributes & FOLDER ? 'folder' : 'file', size: e.readUInt32LE(28) }];
      }
    }
  }

  /** The clusters of a chain; neighbours are read together. */
  private async *chain(first: number): AsyncGenerator<Buffer> {
    const { clusterSize, clusters, data } = this.layout;
    const most = Math.max(1, Math.floor((1024 * 1024) / clusterSize));
    let cluster = first;
    for (let seen = 0; cluster >= 2 && cluster < clusters + 2; ) {
      let run = 1;
      let next = await this.next(cluster);
      while (next === cluster + run && run < most && next < clusters + 2) {
        const following = this.next(next);
        next = typeof following === 'number' ? following : await following;
        run++;
      }
      seen += run;
      if (seen > clusters) throw new Unreadable('a file in it goes round in circles');
      yield await this.disk.read(data + (cluster - 2) * clusterSize, run * clusterSize);
      cluster = next;
    }
  }

  private next(cluster: number): Promise<number> | number {
    const { bits } = this.layout;
    const at = bits === 12 ? Math.floor(cluster * 1.5) : cluster * (bits / 8);
    const value = (b: Buffer) => {
      if (bits === 32) return b.readUInt32LE(0) & 0x0fffffff;
      const pair = b.readUInt16LE(0);
      return bits === 16 ? pair : cluster & 1 ? pair >> 4 : pair & 0xfff;
    };
    const near = at - this.fatWindow.at;
    if (near >= 0 && near + 4 <= this.fatWindow.bytes.length) return value(this.fatWindow.bytes.subarray(near));
    return this.moveWindow(at).then(() => value(this.fatWindow.bytes));
  }

  /** Files lie mostly in one piece, so the next entry is mostly the one beside. */
  private async moveWindow(at: number): Promise<void> {
    const { fat } = this.layout;
    const length = Math.min(FAT_WINDOW, this.disk.size - fat - at);
    this.fatWindow = { at, bytes: await this.disk.read(fat + at, Math.max(length, 4)) };
  }
}

const longPart = (e: Buffer): string => {
  const units = Buffer.concat([e.subarray(1, 11), e.subarray(14, 26), e.subarray(28, 32)]);
  const text = units.toString('utf16le');
  const end = text.search(/[\0\uffff]/);
  return end < 0 ? text : text.slice(0, end);
};

/** Flags say which part of a short name is written in lower case. */
const shortName = (e: Buffer): string => {
  const part = (from: number, to: number, lower: number) => {
    const text = e.toString('latin1', from, to).trimEnd();
    return e[12]! & lower ? text.toLowerCase() : text;
  };
  const base = part(0, 8, 0x08);
  const extension = part(8, 11, 0x10);
  return extension === '' ? base : `${base}.${extension}`;
};
