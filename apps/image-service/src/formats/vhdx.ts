import { crc32c } from './crc32c.js';
import { type FormatReader, magicAt, safeSize } from './format.js';
import { guidAt } from './guid.js';
import { type ByteWindows, HEAD } from './windows.js';

const KIB = 1024;
const HEADERS = [64 * KIB, 128 * KIB];
const HEADER_BYTES = 4 * KIB;
/** The first copy of the region table. */
export const REGION_TABLE = 192 * KIB;
const REGION_TABLES = [REGION_TABLE, 256 * KIB];
export const REGION_TABLE_BYTES = 64 * KIB;
/** The metadata table fills the first 64 KiB of its region; the two items we read come right behind. */
const METADATA_BYTES = 64 * KIB + 4 * KIB;
export const METADATA_REGION = '8b7ca206-4790-4b9a-b8fe-575f050f886e';
export const FILE_PARAMETERS = 'caa16737-fa36-4d43-b3b6-33f0aa44e76b';
const VIRTUAL_DISK_SIZE = '2fa54224-cd1b-4876-b211-5dbed83bf4b8';
const PARENT_LOCATOR = 'a8d35f2d-b30b-454d-abf7-d3d84834ab0c';
const MAX_ENTRIES = 2_047;
const HAS_PARENT = 2;

/** Those copies of a structure that are whole; it begins with a signature and a checksum, which is left out. */
const copies = (head: Buffer, offsets: readonly number[], length: number, signature: string): Buffer[] =>
  offsets
    .map((at) => Buffer.from(head.subarray(at, at + length)))
    .filter((bytes) => {
      if (bytes.length < length || bytes.toString('latin1', 0, 4) !== signature) return false;
      const sum = bytes.readUInt32LE(4);
      return crc32c(bytes.fill(0, 4, 8)) === sum;
    });

/** The newer one of those that are whole: writers renew one at a time, and may leave the other as it was. */
const currentHeader = (head: Buffer): Buffer | null => {
  const [first, second] = copies(head, HEADERS, HEADER_BYTES, 'head');
  if (!first || !second) return first ?? null;
  const [one, other] = [first.readBigUInt64LE(8), second.readBigUInt64LE(8)];
  // Of two that are as new some readers take the one, some the other; disk2vhd writes the same twice.
  if (one === other && !first.equals(second)) return null;
  return one < other ? second : first;
};

/** A log is replayed over the file when it is opened: what was looked at here would not be what is read then. */
const headerProblems = (head: Buffer): string[] => {
  const header = currentHeader(head);
  // QEMU passes over a header of another version; what the older one says must not come to count by that.
  if (header?.readUInt16LE(66) !== 1) return ['its VHDX headers are not valid'];
  return header.subarray(48, 64).some((byte) => byte !== 0)
    ? ['it was not closed, its VHDX log is still to be replayed']
    : [];
};

const regionsAreSound = (head: Buffer): boolean => {
  const [first, second] = copies(head, REGION_TABLES, REGION_TABLE_BYTES, 'regi');
  return first !== undefined && second !== undefined && first.equals(second);
};

/** Where in a table entries of 32 bytes have this GUID. */
const entriesOf = (table: Buffer, from: number, count: number, guid: string): number[] => {
  const found: number[] = [];
  for (let i = 0, at = from; i < Math.min(count, MAX_ENTRIES) && at + 32 <= table.length; i++, at += 32)
    if (guidAt(table, at) === guid) found.push(at);
  return found;
};

/** Where in a region table they do. */
export const regionsOf = (table: Buffer, guid: string): number[] => entriesOf(table, 16, table.readUInt32LE(8), guid);

const metadataOffset = (head: Buffer): number | null => {
  if (!regionsAreSound(head)) return null;
  const table = head.subarray(REGION_TABLE, REGION_TABLE + REGION_TABLE_BYTES);
  const [at, ...more] = regionsOf(table, METADATA_REGION);
  if (table.readUInt32LE(8) > MAX_ENTRIES || at === undefined || more.length > 0) return null;
  return safeSize(table.readBigUInt64LE(at + 16));
};

/** Where in a metadata table they do; nowhere when it is none. */
export const itemsOf = (metadata: Buffer, guid: string): number[] =>
  metadata.length < 32 || metadata.toString('latin1', 0, 8) !== 'metadata'
    ? []
    : entriesOf(metadata, 32, metadata.readUInt16LE(10), guid);

/** A metadata item within the region; null when it is not there, or there more than once. */
const item = (metadata: Buffer, guid: string, length: number): Buffer | null => {
  const [at, ...more] = itemsOf(metadata, guid);
  if (at === undefined || more.length > 0) return null;
  const offset = metadata.readUInt32LE(at + 16);
  return offset + length <= metadata.length ? metadata.subarray(offset, offset + length) : null;
};

const complete = (seen: ByteWindows) => seen.ended || seen.wantedBytes.length === METADATA_BYTES;

/** Microsoft's VHDX (MS-VHDX). */
export const vhdx: FormatReader = {
  format: 'vhdx',
  detect: (seen) => magicAt(seen, 0, 'vhdxfile', 8),
  prepare: (seen) => {
    const offset = metadataOffset(seen.head);
    if (offset !== null && offset >= HEAD) seen.want(offset, METADATA_BYTES);
  },
  problems: (seen) => {
    if (!seen.headComplete) return [];
    const problems = headerProblems(seen.head);
    if (problems.length > 0) return problems;
    if (!seen.wanted) return ['its VHDX regions are not valid'];
    if (!complete(seen)) return [];
    const parameters = item(seen.wantedBytes, FILE_PARAMETERS, 8);
    if (!parameters || vhdx.virtualSize(seen) === null) return ['its VHDX metadata is not valid'];
    const parent = parameters.readUInt32LE(4) & HAS_PARENT || itemsOf(seen.wantedBytes, PARENT_LOCATOR).length > 0;
    return parent ? ['it has a backing file'] : [];
  },
  virtualSize: (seen) => {
    const size = item(seen.wantedBytes, VIRTUAL_DISK_SIZE, 8);
    return size && safeSize(size.readBigUInt64LE(0));
  },
};
