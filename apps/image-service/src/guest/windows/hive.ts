import { type Disk, Unreadable } from '../disk.js';

const HEADER = 4096;
const NONE = 0xffffffff;
const ASCII_KEY = 0x20;
const ASCII_VALUE = 0x1;
const IN_PLACE = 0x80000000;
const TYPE = { text: 1, expandable: 2, number: 4 } as const;
/** What one cell holds at most; longer values are cut in segments. */
const SEGMENT = 16_344;
const MAX_CELL = 1024 * 1024;
const MAX_NAMES = 20_000;
const MAX_VALUES = 4_096;

const damaged = () => new Unreadable('its registry is damaged');

export interface Key {
  readonly name: string;
  /** What it holds, counted, and the cells that tell where. */
  readonly keys: { readonly count: number; readonly list: number };
  readonly values: { readonly count: number; readonly list: number };
}

/**
 * A hive of the registry of Windows, read only; all of it may be hostile, and only `Unreadable` is thrown. What lies in its
 * log alone is not read: after a good end of its guest that is nothing. Names are compared without regard to case.
 */
export class Hive {
  private constructor(
    private readonly file: Disk,
    private readonly end: number,
    private readonly rootCell: number,
  ) {}

  static async open(file: Disk): Promise<Hive> {
    if (file.size < HEADER) throw damaged();
    const b = await file.read(0, HEADER);
    if (b.toString('latin1', 0, 4) !== 'regf' || b.readUInt32LE(20) !== 1) throw damaged();
    const end = HEADER + b.readUInt32LE(40);
    if (end > file.size) throw damaged();
    return new Hive(file, end, b.readUInt32LE(36));
  }

  /** The key at the end of a path from the root, or from another. */
  async key(path: readonly string[], from?: Key): Promise<Key | undefined> {
    let key = from ?? (await this.keyAt(this.rootCell));
    for (const name of path) {
      const found = await this.child(key, name);
      if (!found) return undefined;
      key = found;
    }
    return key;
  }

  async *children({ keys }: Key): AsyncGenerator<Key> {
    if (keys.count === 0) return;
    const seen = { left: MAX_NAMES };
    for await (const at of this.listed(keys.list, seen, true)) yield await this.keyAt(at);
  }

  async text(key: Key, name: string): Promise<string | undefined> {
    const value = await this.value(key, name);
    if (!value || (value.type !== TYPE.text && value.type !== TYPE.expandable)) return undefined;
    return value.data.toString('utf16le').split('\0', 1)[0];
  }

  async number(key: Key, name: string): Promise<number | undefined> {
    const value = await this.value(key, name);
    return value?.type === TYPE.number && value.data.length === 4 ? value.data.readUInt32LE(0) : undefined;
  }

  /** The bytes of a value, at most 1 MiB, and what they are. */
  async value({ values }: Key, name: string): Promise<{ readonly type: number; readonly data: Buffer } | undefined> {
    if (values.count === 0) return undefined;
    if (values.count > MAX_VALUES) throw new Unreadable('a key of its registry has too many values');
    const list = await this.cell(values.list);
    if (values.count * 4 > list.length) throw damaged();
    for (let i = 0; i < values.count; i++) {
      const b = await this.record(list.readUInt32LE(i * 4), 'vk', 20);
      if (!same(nameIn(b, 20, b.readUInt16LE(2), b.readUInt16LE(16) & ASCII_VALUE), name)) continue;
      return { type: b.readUInt32LE(12), data: await this.data(b) };
    }
    return undefined;
  }

  private async child(key: Key, name: string): Promise<Key | undefined> {
    for await (const child of this.children(key)) if (same(child.name, name)) return child;
    return undefined;
  }

  private async data(b: Buffer): Promise<Buffer> {
    const size = b.readUInt32LE(4);
    if (size & IN_PLACE) {
      const length = size - IN_PLACE;
      if (length > 4) throw damaged();
      return b.subarray(8, 8 + length);
    }
    if (size > MAX_CELL) throw new Unreadable('a value of its registry is too large');
    const cell = await this.cell(b.readUInt32LE(8));
    if (size <= SEGMENT || cell.toString('latin1', 0, 2) !== 'db') {
      if (size > cell.length) throw damaged();
      return cell.subarray(0, size);
    }
    if (cell.length < 8) throw damaged();
    const list = await this.cell(cell.readUInt32LE(4));
    const count = cell.readUInt16LE(2);
    if (count * 4 > list.length || count !== Math.ceil(size / SEGMENT)) throw damaged();
    const parts: Buffer[] = [];
    for (let left = size; left > 0; left -= SEGMENT) {
      const part = (await this.cell(list.readUInt32LE(parts.length * 4))).subarray(0, Math.min(SEGMENT, left));
      if (part.length < Math.min(SEGMENT, left)) throw damaged();
      parts.push(part);
    }
    return Buffer.concat(parts);
  }

  private async *listed(at: number, seen: { left: number }, outer: boolean): AsyncGenerator<number> {
    const b = await this.cell(at);
    const kind = b.toString('latin1', 0, 2);
    const count = b.readUInt16LE(2);
    // Beside each name, some have its first letters, or a sum of it.
    const width = kind === 'lf' || kind === 'lh' ? 8 : 4;
    const known = width === 8 || kind === 'li' || (kind === 'ri' && outer);
    if (!known || 4 + count * width > b.length) throw damaged();
    for (let i = 0; i < count; i++) {
      const to = b.readUInt32LE(4 + i * width);
      if (seen.left-- <= 0) throw new Unreadable('a key of its registry has too many others');
      if (kind === 'ri') yield* this.listed(to, seen, false);
      else yield to;
    }
  }

  private async keyAt(at: number): Promise<Key> {
    const b = await this.record(at, 'nk', 76);
    return {
      name: nameIn(b, 76, b.readUInt16LE(72), b.readUInt16LE(2) & ASCII_KEY),
      keys: { count: b.readUInt32LE(20), list: b.readUInt32LE(28) },
      values: { count: b.readUInt32LE(36), list: b.readUInt32LE(40) },
    };
  }

  private async record(at: number, kind: string, least: number): Promise<Buffer> {
    const b = await this.cell(at);
    if (b.length < least || b.toString('latin1', 0, 2) !== kind) throw damaged();
    return b;
  }

  private async cell(at: number): Promise<Buffer> {
    const start = HEADER + at;
    if (at === NONE || at % 8 !== 0 || start + 8 > this.end) throw damaged();
    // One that is free has a positive length.
    const length = -(await this.file.read(start, 4)).readInt32LE(0);
    if (length < 8 || length > MAX_CELL || start + length > this.end) throw damaged();
    return this.file.read(start + 4, length - 4);
  }
}

const same = (a: string, b: string): boolean => a.toLowerCase() === b.toLowerCase();

const nameIn = (b: Buffer, at: number, length: number, ascii: number): string => {
  if (at + length > b.length) throw damaged();
  return b.toString(ascii ? 'latin1' : 'utf16le', at, at + length);
};
