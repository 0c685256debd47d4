import { type FormatReader, magicAt, SECTOR, safeSize } from './format.js';
import type { ByteWindows } from './windows.js';

const COOKIE = 'conectix';
const FIXED = 2;
export const DYNAMIC = 3;
const DIFFERENCING = 4;

const validChecksum = (footer: Buffer): boolean => {
  let sum = 0;
  for (let i = 0; i < SECTOR; i++) if (i < 64 || i >= 68) sum += footer[i]!;
  return ~sum >>> 0 === footer.readUInt32BE(64);
};

/** The size of a VHD's disk as its footer says; null for what is no valid footer of this type. */
export const vhdFooterSize = (footer: Buffer, type: typeof FIXED | typeof DYNAMIC): number | null =>
  footer.length === SECTOR &&
  footer.toString('latin1', 0, 8) === COOKIE &&
  footer.readUInt32BE(60) === type &&
  validChecksum(footer)
    ? safeSize(footer.readBigUInt64BE(48))
    : null;

/** Microsoft's VHD, dynamic: a copy of the footer comes first. */
export const vhd: FormatReader = {
  format: 'vhd',
  detect: (seen) => magicAt(seen, 0, COOKIE, COOKIE.length),
  problems: ({ head }) => {
    if (head.length < SECTOR) return ['its VHD footer is cut off'];
    const type = head.readUInt32BE(60);
    if (type === DIFFERENCING) return ['it has a backing file'];
    if (type !== DYNAMIC) return ['its VHD type is not supported'];
    if (safeSize(head.readBigUInt64BE(48)) === null) return ['its virtual size is not valid'];
    return validChecksum(head) ? [] : ['its VHD footer is damaged'];
  },
  virtualSize: ({ head }) => (head.length < SECTOR ? null : safeSize(head.readBigUInt64BE(48))),
};

/**
 * Size of the disk in a fixed VHD: raw bytes and a footer. Nothing but its declaration tells it from a raw disk, so it
 * is looked for only in what says it is a VHD. Null when it is none.
 */
export const fixedVhdSize = (seen: ByteWindows): number | null => {
  if (!seen.ended || seen.size < 2 * SECTOR) return null;
  const size = vhdFooterSize(seen.tail.subarray(seen.tail.length - SECTOR), FIXED);
  return size === seen.size - SECTOR ? size : null;
};
