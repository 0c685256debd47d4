import { crc32c } from './crc32c.js';
import { padded, tarHeader } from './tar.js';

/** Images of every kind as their headers are, made for specs: no tool is needed. */
const SECTOR = 512;
const KIB = 1024;
const MIB = 1024 * KIB;

export const qcow2Image = (
  o: { version?: number; backing?: string; features?: bigint; autoclear?: bigint; crypt?: number; size?: bigint } = {},
): Buffer => {
  const b = Buffer.alloc(256 * 1024);
  b.write('QFI\xfb', 0, 'latin1');
  b.writeUInt32BE(o.version ?? 3, 4);
  if (o.backing) {
    b.writeBigUInt64BE(0x200n, 8);
    b.writeUInt32BE(o.backing.length, 16);
    b.write(o.backing, 0x200);
  }
  b.writeUInt32BE(16, 20);
  b.writeBigUInt64BE(o.size ?? BigInt(10 * MIB), 24);
  b.writeUInt32BE(o.crypt ?? 0, 32);
  if ((o.version ?? 3) === 3) {
    b.writeBigUInt64BE(o.features ?? 0n, 72);
    b.writeBigUInt64BE(o.autoclear ?? 0n, 88);
    b.writeUInt32BE(104, 100);
  }
  return b;
};

export const descriptor = (type: string, extent: string, more = ''): string =>
  `# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType="${type}"\n${more}\n# Extent description\n${extent}\n\n# The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = "4"\nddb.adapterType = "ide"\n`;

/** @param o.flags 0x30000 for a stream */
export const vmdkImage = (
  o: {
    type?: string;
    extent?: string;
    more?: string;
    footer?: 'good' | 'bad' | 'missing';
    capacity?: bigint;
    flags?: number;
  } = {},
): Buffer => {
  const streamed = o.footer !== undefined;
  const header = Buffer.alloc(SECTOR);
  header.write('KDMV', 0, 'latin1');
  header.writeUInt32LE(streamed ? 3 : 1, 4);
  header.writeUInt32LE(o.flags ?? (streamed ? 0x30001 : 1), 8);
  header.writeBigUInt64LE(o.capacity ?? BigInt((10 * MIB) / SECTOR), 12);
  header.writeBigUInt64LE(128n, 20);
  header.writeBigUInt64LE(1n, 28);
  header.writeBigUInt64LE(20n, 36);
  header.writeUInt32LE(512, 44);
  header.writeBigUInt64LE(streamed ? 0xffffffffffffffffn : 26n, 56);
  const text = Buffer.alloc(20 * SECTOR);
  text.write(
    descriptor(
      o.type ?? (streamed ? 'streamOptimized' : 'monolithicSparse'),
      o.extent ?? 'RW 20480 SPARSE "disk.vmdk"',
      o.more,
    ),
  );
  const parts = [header, text, Buffer.alloc(200 * SECTOR, 1)];
  if (o.footer === 'good' || o.footer === 'bad') {
    const marker = Buffer.alloc(SECTOR);
    marker.writeUInt32LE(3, 12);
    const footer = Buffer.from(header);
    footer.writeBigUInt64LE(26n, 56);
    if (o.footer === 'bad') footer.writeBigUInt64LE(100n, 28);
    parts.push(marker, footer, Buffer.alloc(SECTOR));
  }
  return Buffer.concat(parts);
};

/** The same VMDK with another descriptor, said to be `sectors` long whatever its length is. */
export const describedBy = (text: string, sectors: number, vmdk: Buffer): Buffer => {
  const b = Buffer.from(vmdk);
  b.writeBigUInt64LE(BigInt(sectors), 36);
  b.fill(0, SECTOR, 21 * SECTOR);
  b.write(text, SECTOR, 'latin1');
  return b;
};

/** Descriptors in which QEMU finds a parent of this name, by a search for the key that knows no lines, and their sectors. */
export const parentedDescriptors = (
  hint: string,
  type: string,
): readonly (readonly [where: string, text: string, sectors: number])[] => {
  const parent = 'parentCID=cafebabe\n';
  const named = `parentFileNameHint="${hint}"`;
  const text = (head: string, extent = 'RW 20480 SPARSE "disk.vmdk"') =>
    `# Disk DescriptorFile\nversion=1\nCID=12345678\n${head}\ncreateType="${type}"\n${extent}\n`;
  const short = text('parentCID=ffffffff');
  return [
    ['as any has it', text(`${parent}${named}`), 20],
    ['in a comment', text(`# ${parent}# ${named}`), 20],
    ['in a comment, the CID of none before it', text(`parentCID=ffffffff\n#${named}`), 20],
    ['in an entry of the disk data base', text(`ddb.${parent}ddb.${named}`), 20],
    ['within a line', text(`x=${parent}y=${named}`), 20],
    ['in the name of the extent', text(parent, `RW 20480 SPARSE "parentFileNameHint==${hint}"`), 20],
    ['behind a lone carriage return', text(`#\r${parent}#\r${named}`), 20],
    ['behind its end', `${short}${'#'.repeat(511 - short.length)}\n${parent}${named}\n`, 1],
    ['behind its end, in a comment', `${short}${'#'.repeat(512 - short.length)}${named}\n`, 1],
    [
      'at the end of what QEMU reads',
      `${short}${'#'.repeat(20 * SECTOR - 2 - short.length - named.length)}${named}`,
      1,
    ],
  ];
};

const vhdSum = (b: Buffer, at: number): Buffer => {
  b.writeUInt32BE(0, at);
  b.writeUInt32BE(~b.reduce((sum, byte) => sum + byte, 0) >>> 0, at);
  return b;
};
export const vhdFooter = (type: number, size: number, header = SECTOR): Buffer => {
  const b = Buffer.alloc(SECTOR);
  b.write('conectix', 0, 'latin1');
  b.writeUInt32BE(0x10000, 12);
  b.writeBigUInt64BE(BigInt(header), 16);
  b.writeBigUInt64BE(BigInt(size), 40);
  b.writeBigUInt64BE(BigInt(size), 48);
  b.writeUInt32BE(type, 60);
  return vhdSum(b, 64);
};
export const vhdHeader = (): Buffer => {
  const b = Buffer.alloc(2 * SECTOR);
  b.write('cxsparse', 0, 'latin1');
  b.writeBigUInt64BE(BigInt(3 * SECTOR), 16);
  b.writeUInt32BE(0x10000, 24);
  b.writeUInt32BE(2 * MIB, 32);
  return vhdSum(b, 36);
};
export const dynamicVhd = (
  type = 3,
  size = 10 * MIB,
  o: { header?: Buffer; first?: Buffer; last?: Buffer } = {},
): Buffer => {
  const first = o.first ?? vhdFooter(type, size);
  return Buffer.concat([first, o.header ?? vhdHeader(), Buffer.alloc(3072), o.last ?? first]);
};
export const fixedVhd = (): Buffer => Buffer.concat([Buffer.alloc(MIB), vhdFooter(2, MIB)]);

const guid = (text: string): Buffer => {
  const [a, b, c, d, e] = text.split('-').map((h) => Buffer.from(h, 'hex')) as [Buffer, Buffer, Buffer, Buffer, Buffer];
  return Buffer.concat([a.reverse(), b.reverse(), c.reverse(), d, e]);
};
const summed = (b: Buffer, at: number, length: number) => {
  b.writeUInt32LE(0, at + 4);
  b.writeUInt32LE(crc32c(b.subarray(at, at + length)), at + 4);
};
/** @param change what to change before the checksums are made; a header or region table of its own at each place */
export const vhdxImage = (
  o: { parent?: boolean; regions?: boolean; size?: number; change?: (b: Buffer) => void } = {},
): Buffer => {
  const b = Buffer.alloc(4 * MIB);
  b.write('vhdxfile', 0, 'latin1');
  for (const [i, at] of [64 * KIB, 128 * KIB].entries()) {
    b.write('head', at, 'latin1');
    b.writeBigUInt64LE(BigInt(6 + i), at + 8);
    b.writeUInt16LE(1, at + 66);
  }
  if (o.regions !== false)
    for (const at of [192 * KIB, 256 * KIB]) {
      b.write('regi', at, 'latin1');
      b.writeUInt32LE(1, at + 8);
      guid('8b7ca206-4790-4b9a-b8fe-575f050f886e').copy(b, at + 16);
      b.writeBigUInt64LE(BigInt(2 * MIB), at + 32);
      b.writeUInt32LE(MIB, at + 40);
    }
  const m = 2 * MIB;
  b.write('metadata', m, 'latin1');
  b.writeUInt16LE(2, m + 10);
  guid('caa16737-fa36-4d43-b3b6-33f0aa44e76b').copy(b, m + 32);
  b.writeUInt32LE(64 * KIB, m + 48);
  b.writeUInt32LE(8, m + 52);
  guid('2fa54224-cd1b-4876-b211-5dbed83bf4b8').copy(b, m + 64);
  b.writeUInt32LE(64 * KIB + 8, m + 80);
  b.writeUInt32LE(8, m + 84);
  b.writeUInt32LE(o.parent ? 2 : 0, m + 64 * KIB + 4);
  b.writeBigUInt64LE(BigInt(o.size ?? 10 * MIB), m + 64 * KIB + 8);
  o.change?.(b);
  for (const at of [64 * KIB, 128 * KIB]) summed(b, at, 4 * KIB);
  for (const at of [192 * KIB, 256 * KIB]) summed(b, at, 64 * KIB);
  return b;
};

export const vdiImage = (type = 1): Buffer => {
  const b = Buffer.alloc(8192);
  b.write('<<< QEMU VM Virtual Disk Image >>>\n');
  b.writeUInt32LE(0xbeda107f, 0x40);
  b.writeUInt32LE(type, 0x4c);
  b.writeBigUInt64LE(BigInt(10 * MIB), 0x170);
  return b;
};

export const isoImage = (): Buffer => {
  const b = Buffer.alloc(64 * 1024);
  b[32 * 1024] = 1;
  b.write('CD001', 32 * 1024 + 1, 'latin1');
  b.writeUInt32LE(32, 32 * 1024 + 80);
  b.writeUInt16LE(2048, 32 * 1024 + 128);
  return b;
};

export const labelledImage = (): Buffer => {
  const b = Buffer.alloc(MIB);
  b[446] = 0x80;
  b[450] = 0x83;
  b.writeUInt16LE(0xaa55, 510);
  return b;
};

/** A descriptor that names these files. */
export const ovf = (...files: string[]): string =>
  `<?xml version="1.0"?><Envelope><References>${files.map((f) => `<File ovf:href="${f}"/>`).join('')}</References></Envelope>`;
export const tarImage = (...files: (readonly [name: string, bytes: Buffer | string])[]): Buffer =>
  Buffer.concat([
    ...files.flatMap(([name, bytes]) => {
      const body = Buffer.from(bytes as string);
      return [tarHeader(name, body.length), body, Buffer.alloc(padded(body.length) - body.length)];
    }),
    Buffer.alloc(1024),
  ]);
export const ovaImage = (disk: Buffer = vmdkImage({ footer: 'good' })): Buffer =>
  tarImage(['vm.ovf', ovf('disk.vmdk')], ['disk.vmdk', disk]);

/** A FAT file system without partitions: its boot sector has the signature of a label too. */
export const fatImage = (): Buffer => {
  const b = Buffer.alloc(MIB);
  b[0x10] = 2;
  b[0x15] = 0xf8;
  b.writeUInt16LE(0xaa55, 510);
  return b;
};
