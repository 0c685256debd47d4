import { type FormatReader, magicAt, SECTOR, safeSize } from './format.js';

const DYNAMIC = 1;
const STATIC = 2;

/** VirtualBox's VDI. */
export const vdi: FormatReader = {
  format: 'vdi',
  detect: (seen) => magicAt(seen, 0x40, Buffer.from([0x7f, 0x10, 0xda, 0xbe])),
  problems: ({ head }) => {
    const type = head.readUInt32LE(0x4c);
    if (type !== DYNAMIC && type !== STATIC) return ['it has a backing file'];
    return safeSize(head.readBigUInt64LE(0x170)) === null ? ['its virtual size is not valid'] : [];
  },
  virtualSize: ({ head }) => safeSize(head.readBigUInt64LE(0x170)),
};

const DESCRIPTOR = 32 * 1024;

/** ISO 9660 and UDF. */
export const iso: FormatReader = {
  format: 'iso',
  detect: ({ head }) =>
    head.length >= DESCRIPTOR + 2048 &&
    ['CD001', 'NSR02', 'NSR03'].includes(head.toString('latin1', DESCRIPTOR + 1, DESCRIPTOR + 6)),
  problems: () => [],
  virtualSize: ({ head }) =>
    head[DESCRIPTOR] === 1 ? head.readUInt32LE(DESCRIPTOR + 80) * head.readUInt16LE(DESCRIPTOR + 128) : null,
};

const ENTRIES = 446;
const PROTECTIVE = 0xee;

/** A boot sector whose partition table no tool would write may be there to make one reader see what another does not. */
const labelProblems = (sector: Buffer): string[] => {
  const entries = [0, 1, 2, 3].map((i) => sector.subarray(ENTRIES + 16 * i, ENTRIES + 16 * (i + 1)));
  if (entries.some((e) => e[0] !== 0 && e[0] !== 0x80)) return ['its partition table is not valid'];
  const used = entries.flatMap((e, i) => (e[4] === 0 ? [] : [i]));
  if (used.length === 0) return ['its boot sector defines no partition'];
  const protective = entries.filter((e) => e[4] === PROTECTIVE);
  if (protective.length === 0) return [];
  const [first] = entries as [Buffer];
  const sound =
    used.length === 1 && first[4] === PROTECTIVE && first.readUIntBE(1, 3) === 0x000200 && first.readUInt32LE(8) === 1;
  return sound ? [] : ['its protective partition table is not valid'];
};

/** A disk with an MBR or GPT label: a raw disk. The boot sector of a FAT file system has the same signature. */
export const labelledDisk: FormatReader = {
  format: 'gpt',
  detect: ({ head }) =>
    head.length >= SECTOR && head.readUInt16LE(510) === 0xaa55 && !(head[0x10] === 2 && head[0x15] === 0xf8),
  problems: ({ head }) => labelProblems(head),
  virtualSize: ({ size }) => size,
};

/** Parallels and Virtuozzo. */
export const ploop: FormatReader = {
  format: 'ploop',
  detect: (seen) => magicAt(seen, 0, 'WithoutFreeSpace') || magicAt(seen, 0, 'WithouFreSpacExt'),
  problems: () => [],
  virtualSize: ({ head }) => safeSize(head.readBigUInt64LE(36) * 512n),
};

export const luks: FormatReader = {
  format: 'luks',
  detect: (seen) => magicAt(seen, 0, 'LUKS\xba\xbe'),
  problems: () => ['it is encrypted'],
  virtualSize: () => null,
};

export const qed: FormatReader = {
  format: 'qed',
  detect: (seen) => magicAt(seen, 0, 'QED\0'),
  problems: () => ['this file format is not allowed'],
  virtualSize: () => null,
};
