import { type FormatReader, magicAt, safeSize } from './format.js';
import { guidAt } from './guid.js';
import { type ByteWindows, HEAD } from './windows.js';

const KIB = 1024;
const REGION_TABLE = 192 * KIB;
/** The metadata table fills the first 64 KiB of its region; the two items we read come right behind. */
const METADATA_BYTES = 64 * KIB + 4 * KIB;
const METADATA_REGION = '8b7ca206-4790-4b9a-b8fe-575f050f886e';
const FILE_PARAMETERS = 'caa16737-fa36-4d43-b3b6-33f0aa44e76b';
const VIRTUAL_DISK_SIZE = '2fa54224-cd1b-4876-b211-5dbed83bf4b8';
const MAX_ENTRIES = 2_047;
const HAS_PARENT = 2;

const metadataOffset = (head: Buffer): number | null => {
  if (head.length < REGION_TABLE + 64 * KIB || head.toString('latin1', REGION_TABLE, REGION_TABLE + 4) !== 'regi')
    return null;
  const count = head.readUInt32LE(REGION_TABLE + 8);
  if (count > MAX_ENTRIES) return null;
  for (let i = 0; i < count; i++) {
    const at = REGION_TABLE + 16 + i * 32;
    if (guidAt(head, at) === METADATA_REGION) return safeSize(head.readBigUInt64LE(at + 16));
  }
  return null;
};

/** Offset and length of a metadata item within the region; null when it is not there. */
const item = (metadata: Buffer, guid: string, length: number): Buffer | null => {
  if (metadata.length < 32 || metadata.toString('latin1', 0, 8) !== 'metadata') return null;
  const count = Math.min(metadata.readUInt16LE(10), MAX_ENTRIES);
  for (let i = 0; i < count && 64 + i * 32 <= metadata.length; i++) {
    const at = 32 + i * 32;
    if (guidAt(metadata, at) !== guid) continue;
    const offset = metadata.readUInt32LE(at + 16);
    return offset + length <= metadata.length ? metadata.subarray(offset, offset + length) : null;
  }
  return null;
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
    if (!seen.wanted) return ['its VHDX regions are not valid'];
    if (!complete(seen)) return [];
    const parameters = item(seen.wantedBytes, FILE_PARAMETERS, 8);
    if (!parameters || vhdx.virtualSize(seen) === null) return ['its VHDX metadata is not valid'];
    return parameters.readUInt32LE(4) & HAS_PARENT ? ['it has a backing file'] : [];
  },
  virtualSize: (seen) => {
    const size = item(seen.wantedBytes, VIRTUAL_DISK_SIZE, 8);
    return size && safeSize(size.readBigUInt64LE(0));
  },
};
