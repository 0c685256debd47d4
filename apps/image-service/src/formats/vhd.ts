import { type FormatReader, magicAt, SECTOR, safeSize } from './format.js';
import type { ByteWindows } from './windows.js';

const COOKIE = 'conectix';
const FIXED = 2;
export const DYNAMIC = 3;
const DIFFERENCING = 4;

/** The sum of all bytes but its own, inverted. */
const validChecksum = (bytes: Buffer, at: number): boolean => {
  let sum = 0;
  for (let i = 0; i < bytes.length; i++) if (i < at || i >= at + 4) sum += bytes[i]!;
  return ~sum >>> 0 === bytes.readUInt32BE(at);
};

/** The size of a VHD's disk as its footer says; null for what is no valid footer of this type. */
export const vhdFooterSize = (footer: Buffer, type: typeof FIXED | typeof DYNAMIC): number | null =>
  footer.length === SECTOR &&
  footer.toString('latin1', 0, 8) === COOKIE &&
  footer.readUInt32BE(60) === type &&
  validChecksum(footer, 64)
    ? safeSize(footer.readBigUInt64BE(48))
    : null;

/** Readers begin with the footer in front, or with the last one; each says where the header is that says where the rest is. */
const twoDisksProblem = ({ head, tail, ended }: ByteWindows): string | null => {
  const header = head.subarray(SECTOR, 3 * SECTOR);
  if (head.readBigUInt64BE(16) !== BigInt(SECTOR)) return 'its VHD header is misplaced';
  if (header.toString('latin1', 0, 8) !== 'cxsparse' || !validChecksum(header, 36)) return 'its VHD header is damaged';
  const same = !ended || tail.subarray(-SECTOR).equals(head.subarray(0, SECTOR));
  return same ? null : 'its last VHD footer is not the one in front; it may be cut off';
};

/** Microsoft's VHD, dynamic: a copy of the footer comes first. */
export const vhd: FormatReader = {
  format: 'vhd',
  detect: (seen) => magicAt(seen, 0, COOKIE, COOKIE.length),
  problems: (seen) => {
    const { head } = seen;
    if (head.length < 3 * SECTOR) return ['its VHD footer is cut off'];
    const type = head.readUInt32BE(60);
    if (type === DIFFERENCING) return ['it has a backing file'];
    if (type !== DYNAMIC) return ['its VHD type is not supported'];
    if (safeSize(head.readBigUInt64BE(48)) === null) return ['its virtual size is not valid'];
    if (!validChecksum(head.subarray(0, SECTOR), 64)) return ['its VHD footer is damaged'];
    const problem = twoDisksProblem(seen);
    return problem === null ? [] : [problem];
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
