import { type FormatReader, magicAt, SECTOR, safeSize } from './format.js';
import type { ByteWindows } from './windows.js';
import { HEAD } from './windows.js';

const GD_AT_END = 0xffffffffffffffffn;
const MARKER_FOOTER = 3;
/** Grains are compressed, and each says where it belongs. */
const STREAM_FLAGS = 3 << 16;

interface SparseHeader {
  readonly magic: string;
  readonly version: number;
  readonly flags: number;
  readonly capacity: bigint;
  readonly descriptorOffset: bigint;
  readonly descriptorSize: bigint;
  readonly grainDirectory: bigint;
}

const sparseHeader = (b: Buffer): SparseHeader => ({
  magic: b.toString('latin1', 0, 4),
  version: b.readUInt32LE(4),
  flags: b.readUInt32LE(8),
  capacity: b.readBigUInt64LE(12),
  descriptorOffset: b.readBigUInt64LE(28),
  descriptorSize: b.readBigUInt64LE(36),
  grainDirectory: b.readBigUInt64LE(56),
});

const isSparse = (seen: ByteWindows) => magicAt(seen, 0, 'KDMV');
const isOldSparse = (seen: ByteWindows) => magicAt(seen, 0, 'COWD');

/** A file that is nothing but a descriptor, and names other files as its extents. */
const isText = (seen: ByteWindows): boolean => {
  const bytes = seen.head.subarray(0, 64 * 1024);
  const zero = bytes.indexOf(0);
  const text = (zero < 0 ? bytes : bytes.subarray(0, zero)).toString('latin1');
  if (text.length < 4 || !/^[\t-\r -~]*$/.test(text.slice(0, SECTOR))) return false;
  if (/createtype\s*=|^# disk descriptorfile/im.test(text)) return true;
  const first = text.split(/\r?\n/).find((line) => line.trim() !== '' && !line.startsWith('#'));
  return first !== undefined && /^\s*version\s*=\s*[123]\s*$/i.test(first);
};

/** What QEMU reads for a parent, wherever the descriptor ends. */
const PARENT_BYTES = 10 * 1024;

/** Readers find these names anywhere, in comments, too, and behind the end of the descriptor; so do we. */
const hiddenProblems = (text: string): string[] => {
  const parents = text.match(/parentcid/g) ?? [];
  if (text.includes('parentfilenamehint') || parents.length > 1) return ['it has a backing file'];
  return (text.match(/createtype/g) ?? []).length > 1 ? ['its descriptor is not valid'] : [];
};

const descriptorProblems = (text: string): string[] => {
  if (!/^[\t-\r -~]*$/.test(text)) return ['its descriptor is not valid'];
  const type = /^createtype="([^"\n]{0,63})"/m.exec(text)?.[1] ?? 'unknown';
  if (type !== 'monolithicsparse' && type !== 'streamoptimized')
    return [`VMDK of the type ${/^[a-z0-9]+$/.test(type) ? type : 'unknown'} is not supported`];
  const problems: string[] = [];
  let extents = 0;
  for (const line of text.split(/[\n-\r]/).map((l) => l.trim())) {
    if (/parentcid/.test(line)) {
      if (!/^parentcid\s*=\s*ffffffff$/.test(line)) problems.push('it has a backing file');
    } else if (line === '' || line.startsWith('#') || line.startsWith('ddb.')) continue;
    else if (/^(rw|rdonly|noaccess)\s/.test(line)) {
      extents++;
      if (!/^(rw|rdonly) \d+ sparse "[^"/\\]+"$/.test(line)) problems.push('its descriptor names a foreign extent');
    } else if (!/^[^\s=]+=/.test(line)) problems.push('its descriptor is not valid');
  }
  if (extents !== 1) problems.push('its descriptor must name exactly one extent');
  return problems;
};

const footerProblems = (seen: ByteWindows, header: SparseHeader): string[] => {
  if (!seen.ended) return [];
  if (seen.tail.length < 3 * SECTOR) return ['its footer is missing'];
  const marker = seen.tail.subarray(0, SECTOR);
  const footer = sparseHeader(seen.tail.subarray(SECTOR, 2 * SECTOR));
  const last = seen.tail.subarray(2 * SECTOR);
  const same =
    footer.magic === header.magic &&
    footer.version === header.version &&
    footer.capacity === header.capacity &&
    footer.descriptorOffset === header.descriptorOffset &&
    footer.descriptorSize === header.descriptorSize &&
    footer.grainDirectory !== GD_AT_END;
  const marked =
    marker.readUInt32LE(8) === 0 &&
    marker.readUInt32LE(12) === MARKER_FOOTER &&
    marker.subarray(16).every((b) => b === 0) &&
    last.every((b) => b === 0);
  return same && marked ? [] : ['its footer does not match its header'];
};

const descriptorEnd = (seen: ByteWindows) => SECTOR + Number(sparseHeader(seen.head).descriptorSize) * SECTOR;

const lowerText = (seen: ByteWindows, end: number) => seen.head.toString('latin1', SECTOR, end).toLowerCase();

const descriptorOf = (seen: ByteWindows): string => {
  const text = lowerText(seen, descriptorEnd(seen));
  const zero = text.indexOf('\0');
  return zero < 0 ? text : text.slice(0, zero);
};

/** Its flags alone make a stream, whatever the descriptor says, and wherever the grain directory lies. */
const formOf = (seen: ByteWindows) =>
  (sparseHeader(seen.head).flags & STREAM_FLAGS) === STREAM_FLAGS ? 'vmdk' : 'vmdk-sparse';

/** VMware's VMDK: only what holds its own data, monolithicSparse and streamOptimized. */
export const vmdk: FormatReader = {
  format: 'vmdk',
  detect: (seen) => isSparse(seen) || isOldSparse(seen) || isText(seen),
  problems: (seen) => {
    if (!isSparse(seen)) return ['only VMDK that holds its own data is supported'];
    const header = sparseHeader(seen.head);
    if (header.version < 1 || header.version > 3) return ['its VMDK version is not supported'];
    if (header.capacity === 0n || safeSize(header.capacity * 512n) === null) return ['its virtual size is not valid'];
    const end = descriptorEnd(seen);
    if (header.descriptorOffset !== 1n || header.descriptorSize === 0n || end > HEAD)
      return ['its descriptor is missing or misplaced'];
    if (seen.head.length < end) return seen.ended ? ['its descriptor is cut off'] : [];
    const around = lowerText(seen, Math.max(end, SECTOR + PARENT_BYTES));
    const problems = [...hiddenProblems(around), ...descriptorProblems(descriptorOf(seen))];
    if (header.grainDirectory === GD_AT_END) problems.push(...footerProblems(seen, header));
    return [...new Set(problems)];
  },
  form: formOf,
  virtualSize: (seen) => (isSparse(seen) ? safeSize(sparseHeader(seen.head).capacity * 512n) : null),
};
