import { HypervisorError } from '../hypervisor-driver.js';

/**
 * Writes an ISO 9660 image with Joliet names, the way guests expect a config drive. Only what that needs: files that
 * fit in memory, names up to 64 characters, one extent each. ECMA-119 and the Joliet specification, 1995.
 */

const SECTOR = 2048;
/** Empty sectors at the end, as mkisofs writes them: readers look further ahead than a small image is long. */
const PADDING = 150;

interface Node {
  readonly name: string;
  readonly bytes: Uint8Array | null;
  readonly children: Node[];
  parent: Node;
  /** First sector of the file, or of the folder in each of the two trees. */
  readonly at: { plain: number; joliet: number };
}

type Tree = 'plain' | 'joliet';

export const writeConfigDrive = (files: ReadonlyMap<string, Uint8Array>, label = 'config-2'): Buffer => {
  const root = treeOf(files);
  const folders = foldersOf(root);
  const contents = folders.flatMap((folder) => folder.children.filter((child) => child.bytes));

  // Sectors 0-15 belong to the system; then two volume descriptors, the end mark and four path tables.
  let next = 19;
  const tables: Record<Tree, { little: number; big: number; size: number }> = {
    plain: { little: 0, big: 0, size: 0 },
    joliet: { little: 0, big: 0, size: 0 },
  };
  for (const tree of ['plain', 'joliet'] as const) {
    const size = pathTable(folders, tree, false).length;
    const sectors = Math.ceil(size / SECTOR);
    tables[tree] = { little: next, big: next + sectors, size };
    next += 2 * sectors;
  }
  for (const tree of ['plain', 'joliet'] as const)
    for (const folder of folders) {
      folder.at[tree] = next;
      next += folderSize(folder, tree) / SECTOR;
    }
  for (const file of contents) {
    file.at.plain = next;
    file.at.joliet = next;
    next += Math.max(1, Math.ceil(file.bytes!.length / SECTOR));
  }

  next += PADDING;

  const image = Buffer.alloc(next * SECTOR);
  const put = (sector: number, bytes: Uint8Array) => image.set(bytes, sector * SECTOR);
  put(16, volumeDescriptor('plain', label, root, next, tables.plain));
  put(17, volumeDescriptor('joliet', label, root, next, tables.joliet));
  put(18, Buffer.from([255, ...Buffer.from('CD001'), 1]));
  for (const tree of ['plain', 'joliet'] as const) {
    put(tables[tree].little, pathTable(folders, tree, false));
    put(tables[tree].big, pathTable(folders, tree, true));
    for (const folder of folders) put(folder.at[tree], folderRecords(folder, tree));
  }
  for (const file of contents) put(file.at.plain, file.bytes!);
  return image;
};

const treeOf = (files: ReadonlyMap<string, Uint8Array>): Node => {
  const node = (name: string, bytes: Uint8Array | null, parent?: Node): Node => {
    const made = { name, bytes, children: [], at: { plain: 0, joliet: 0 } } as unknown as Node;
    made.parent = parent ?? made;
    parent?.children.push(made);
    return made;
  };
  const root = node('', null);
  for (const [path, bytes] of files) {
    const parts = path.split('/');
    if (parts.length > 7 || parts.some((part) => !/^[A-Za-z0-9_.-]{1,64}$/.test(part) || part === '.' || part === '..'))
      throw new HypervisorError('fault', 'a file of the config drive has a name that it cannot hold', path);
    let folder = root;
    for (const part of parts.slice(0, -1))
      folder = folder.children.find((child) => child.name === part) ?? node(part, null, folder);
    node(parts.at(-1)!, bytes, folder);
  }
  return root;
};

/** Level by level and by name, as path tables want them. */
const foldersOf = (root: Node): Node[] => {
  const folders = [root];
  for (const folder of folders) {
    folder.children.sort((a, b) => (a.name < b.name ? -1 : 1));
    folders.push(...folder.children.filter((child) => !child.bytes));
  }
  return folders;
};

const encode = (name: string, tree: Tree, file: boolean): Buffer => {
  if (tree === 'plain') return Buffer.from(file ? `${name.toUpperCase()};1` : name.toUpperCase());
  return Buffer.from(file ? `${name};1` : name, 'utf16le').swap16();
};

const both32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32LE(value, 0);
  bytes.writeUInt32BE(value, 4);
  return bytes;
};

const both16 = (value: number): Buffer => Buffer.from([value & 255, value >> 8, value >> 8, value & 255]);

/** 1 January 2000: the same files give the same image. */
const DATE = [100, 1, 1, 0, 0, 0, 0];

const record = (id: Buffer, sector: number, size: number, folder: boolean): Buffer => {
  const length = 33 + id.length + (id.length % 2 === 0 ? 1 : 0);
  return Buffer.concat(
    [
      Buffer.from([length, 0]),
      both32(sector),
      both32(size),
      Buffer.from([...DATE, folder ? 2 : 0, 0, 0]),
      both16(1),
      Buffer.from([id.length]),
      id,
      Buffer.alloc(1),
    ],
    length,
  );
};

const recordsOf = (folder: Node, tree: Tree): Buffer[] => [
  record(Buffer.from([0]), folder.at[tree], 0, true),
  record(Buffer.from([1]), folder.parent.at[tree], 0, true),
  ...folder.children.map((child) =>
    record(encode(child.name, tree, child.bytes !== null), child.at[tree], child.bytes?.length ?? 0, !child.bytes),
  ),
];

/** A record never crosses a sector's end. */
const laidOut = (records: Buffer[]): { offsets: number[]; size: number } => {
  let offset = 0;
  const offsets = records.map(({ length }) => {
    if ((offset % SECTOR) + length > SECTOR) offset = Math.ceil(offset / SECTOR) * SECTOR;
    const at = offset;
    offset += length;
    return at;
  });
  return { offsets, size: Math.ceil(offset / SECTOR) * SECTOR };
};

const folderSize = (folder: Node, tree: Tree): number => laidOut(recordsOf(folder, tree)).size;

const folderRecords = (folder: Node, tree: Tree): Buffer => {
  const records = recordsOf(folder, tree);
  const { offsets, size } = laidOut(records);
  const bytes = Buffer.alloc(size);
  const folders = [folder, folder.parent, ...folder.children];
  records.forEach((entry, i) => {
    const target = folders[i]!;
    if (!target.bytes) both32(folderSize(target, tree)).copy(entry, 10);
    bytes.set(entry, offsets[i]);
  });
  return bytes;
};

const pathTable = (folders: Node[], tree: Tree, big: boolean): Buffer =>
  Buffer.concat(
    folders.map((folder) => {
      const id = folder.name === '' ? Buffer.from([0]) : encode(folder.name, tree, false);
      const head = Buffer.alloc(8);
      head[0] = id.length;
      const parent = folders.indexOf(folder.parent) + 1;
      if (big) {
        head.writeUInt32BE(folder.at[tree], 2);
        head.writeUInt16BE(parent, 6);
      } else {
        head.writeUInt32LE(folder.at[tree], 2);
        head.writeUInt16LE(parent, 6);
      }
      return Buffer.concat([head, id, Buffer.alloc(id.length % 2)]);
    }),
  );

const volumeDescriptor = (
  tree: Tree,
  label: string,
  root: Node,
  sectors: number,
  table: { little: number; big: number; size: number },
): Buffer => {
  const bytes = Buffer.alloc(SECTOR);
  const text = (at: number, length: number, value: string) => {
    if (tree === 'plain') bytes.write(value.padEnd(length, ' '), at, length, 'latin1');
    else bytes.set(Buffer.from(value.padEnd(length >> 1, ' '), 'utf16le').swap16(), at);
  };
  bytes.set([tree === 'plain' ? 1 : 2, ...Buffer.from('CD001'), 1]);
  text(8, 32, '');
  text(40, 32, label);
  both32(sectors).copy(bytes, 80);
  if (tree === 'joliet') bytes.write('%/E', 88, 'latin1');
  both16(1).copy(bytes, 120);
  both16(1).copy(bytes, 124);
  both16(SECTOR).copy(bytes, 128);
  both32(table.size).copy(bytes, 132);
  bytes.writeUInt32LE(table.little, 140);
  bytes.writeUInt32BE(table.big, 148);
  record(Buffer.from([0]), root.at[tree], folderSize(root, tree), true).copy(bytes, 156);
  for (const [at, length] of [
    [190, 128],
    [318, 128],
    [446, 128],
    [574, 128],
    [702, 37],
    [739, 37],
    [776, 37],
  ] as const)
    text(at, length & ~1, '');
  for (const at of [813, 830, 847, 864]) bytes.write('0000000000000000', at, 'latin1');
  bytes[881] = 1;
  return bytes;
};
