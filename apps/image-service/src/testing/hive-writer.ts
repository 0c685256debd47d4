/** A key of a hive that is made for specs: texts, numbers and bytes by name, and keys in it. */
export interface NewKey {
  readonly values?: Readonly<Record<string, string | number | Buffer>>;
  readonly keys?: Readonly<Record<string, NewKey>>;
  /** How the keys in it are listed. */
  readonly list?: 'lf' | 'lh' | 'li' | 'ri';
}

const HEADER = 4096;
const NONE = 0xffffffff;
const SEGMENT = 16_344;

/** Cells one after another, behind the head of the one block that they lie in. */
class Cells {
  private readonly parts: Buffer[] = [Buffer.alloc(32)];
  private end = 32;

  add(body: Buffer): number {
    const at = this.end;
    const cell = Buffer.alloc(Math.ceil((body.length + 4) / 8) * 8);
    cell.writeInt32LE(-cell.length, 0);
    body.copy(cell, 4);
    this.parts.push(cell);
    this.end += cell.length;
    return at;
  }

  list(kind: string, offsets: readonly number[], width: 4 | 8): number {
    const b = Buffer.alloc(4 + offsets.length * width);
    b.write(kind, 0, 'latin1');
    b.writeUInt16LE(offsets.length, 2);
    for (const [i, offset] of offsets.entries()) b.writeUInt32LE(offset, 4 + i * width);
    return this.add(b);
  }

  offsets(all: readonly number[]): number {
    const b = Buffer.alloc(all.length * 4);
    for (const [i, offset] of all.entries()) b.writeUInt32LE(offset, i * 4);
    return this.add(b);
  }

  block(): Buffer {
    const size = Math.ceil((this.end + 8) / HEADER) * HEADER;
    const rest = Buffer.alloc(size - this.end);
    rest.writeInt32LE(rest.length, 0);
    const b = Buffer.concat([...this.parts, rest]);
    b.write('hbin', 0, 'latin1');
    b.writeUInt32LE(size, 8);
    return b;
  }
}

const addValue = (cells: Cells, name: string, value: string | number | Buffer): number => {
  const type = typeof value === 'number' ? 4 : typeof value === 'string' ? 1 : 3;
  const data = typeof value === 'string' ? Buffer.from(`${value}\0`, 'utf16le') : value;
  const b = Buffer.alloc(20 + name.length);
  b.write('vk', 0, 'latin1');
  b.writeUInt16LE(name.length, 2);
  b.writeUInt32LE(type, 12);
  b.writeUInt16LE(1, 16);
  b.write(name, 20, 'latin1');
  if (typeof data === 'number') {
    b.writeUInt32LE(0x80000004, 4);
    b.writeUInt32LE(data, 8);
  } else {
    b.writeUInt32LE(data.length, 4);
    b.writeUInt32LE(data.length > SEGMENT ? addSegments(cells, data) : cells.add(data), 8);
  }
  return cells.add(b);
};

const addSegments = (cells: Cells, data: Buffer): number => {
  const parts: number[] = [];
  for (let at = 0; at < data.length; at += SEGMENT) parts.push(cells.add(data.subarray(at, at + SEGMENT)));
  const b = Buffer.alloc(8);
  b.write('db', 0, 'latin1');
  b.writeUInt16LE(parts.length, 2);
  b.writeUInt32LE(cells.offsets(parts), 4);
  return cells.add(b);
};

const addKey = (cells: Cells, name: string, { values = {}, keys = {}, list = 'lh' }: NewKey, root = false): number => {
  // They are sorted without regard to case.
  const sorted = Object.entries(keys).sort(([a], [b]) => (a.toUpperCase() < b.toUpperCase() ? -1 : 1));
  const children = sorted.map(([child, key]) => addKey(cells, child, key));
  const held = Object.entries(values).map(([value, data]) => addValue(cells, value, data));
  const b = Buffer.alloc(76 + name.length);
  b.write('nk', 0, 'latin1');
  b.writeUInt16LE(root ? 0x2c : 0x20, 2);
  b.writeUInt32LE(children.length, 20);
  for (const at of [28, 32, 40, 44, 48]) b.writeUInt32LE(NONE, at);
  b.writeUInt32LE(held.length, 36);
  b.writeUInt16LE(name.length, 72);
  b.write(name, 76, 'latin1');
  if (held.length > 0) b.writeUInt32LE(cells.offsets(held), 40);
  if (children.length > 0) {
    const half = Math.ceil(children.length / 2);
    const halves = () => [children.slice(0, half), children.slice(half)].map((part) => cells.list('lf', part, 8));
    const at = list === 'ri' ? cells.list('ri', halves(), 4) : cells.list(list, children, list === 'li' ? 4 : 8);
    b.writeUInt32LE(at, 28);
  }
  return cells.add(b);
};

/** A hive of the registry, for specs. */
export const newHive = (root: NewKey): Buffer => {
  const cells = new Cells();
  const at = addKey(cells, 'ROOT', root, true);
  const block = cells.block();
  const b = Buffer.alloc(HEADER);
  b.write('regf', 0, 'latin1');
  for (const [offset, value] of [
    [4, 1],
    [8, 1],
    [20, 1],
    [24, 5],
    [32, 1],
    [36, at],
    [40, block.length],
    [44, 1],
  ] as const)
    b.writeUInt32LE(value, offset);
  let sum = 0;
  for (let i = 0; i < 508; i += 4) sum ^= b.readUInt32LE(i);
  b.writeUInt32LE(sum >>> 0, 508);
  return Buffer.concat([b, block]);
};
