import { type FormatReader, magicAt, safeSize } from './format.js';

const DATA_FILE = 1n << 2n;
/** Dirty, corrupt, data file, compression type: what every QEMU since 5.1 knows. */
const KNOWN_FEATURES = 0b1111n;
/** An autoclear bit: without it nobody reads the bitmaps. */
const BITMAPS = 1n;

/** QEMU's qcow2, versions 2 and 3 (docs/interop/qcow2 of QEMU). */
export const qcow2: FormatReader = {
  format: 'qcow2',
  detect: (seen) => magicAt(seen, 0, 'QFI\xfb'),
  problems: ({ head }) => {
    const version = head.readUInt32BE(4);
    if (version !== 2 && version !== 3) return [`qcow2 version ${version} is not supported`];
    const problems: string[] = [];
    if (head.readBigUInt64BE(8) !== 0n) problems.push('it has a backing file');
    if (head.readUInt32BE(32) !== 0) problems.push('it is encrypted');
    const clusterBits = head.readUInt32BE(20);
    if (clusterBits < 9 || clusterBits > 21) problems.push('its cluster size is not valid');
    if (safeSize(head.readBigUInt64BE(24)) === null) problems.push('its virtual size is not valid');
    if (version === 3) {
      const features = head.readBigUInt64BE(72);
      if (features & DATA_FILE) problems.push('it has an external data file');
      if (features & ~KNOWN_FEATURES) problems.push('it uses unknown features');
      // Their tables are read whole into memory.
      if (head.readBigUInt64BE(88) & BITMAPS) problems.push('it has dirty bitmaps, as backups leave them');
    }
    return problems;
  },
  virtualSize: ({ head }) => safeSize(head.readBigUInt64BE(24)),
};
