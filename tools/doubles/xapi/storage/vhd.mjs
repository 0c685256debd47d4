import { randomBytes } from 'node:crypto';
import { open } from 'node:fs/promises';

/** Dynamic virtual hard disks, as the VHD specification 1.0 of 2006 has them: what import reads and export writes. */

const SECTOR = 512;
const BLOCK = 2 << 20;
const UNUSED = 0xffffffff;
const DYNAMIC = 3;
const SECONDS_TO_2000 = 946_684_800;

const checksum = (bytes, at) => {
  let sum = 0;
  for (let i = 0; i < bytes.length; i++) if (i < at || i >= at + 4) sum += bytes[i];
  return ~sum >>> 0;
};
const bitmapBytes = (blockSize) => Math.ceil(blockSize / SECTOR / 8 / SECTOR) * SECTOR;

/** Takes bytes of a stream by count, in order. */
class Source {
  /** @param {AsyncIterable<Buffer>} stream */
  constructor(stream) {
    this.iterator = stream[Symbol.asyncIterator]();
    this.left = Buffer.alloc(0);
    this.offset = 0;
  }

  /** @throws {VhdError} when the stream ends before */
  async take(count) {
    const parts = [];
    let missing = count;
    while (missing > 0) {
      if (this.left.length === 0) {
        const { value, done } = await this.iterator.next();
        if (done) throw new VhdError('the stream ends in the middle of the disk');
        this.left = value;
      }
      const part = this.left.subarray(0, missing);
      this.left = this.left.subarray(part.length);
      missing -= part.length;
      parts.push(part);
    }
    this.offset += count;
    return parts.length === 1 ? parts[0] : Buffer.concat(parts);
  }

  async skipTo(offset) {
    if (offset < this.offset) throw new VhdError('the parts of the disk are not in the order of a stream');
    while (this.offset < offset) await this.take(Math.min(1 << 20, offset - this.offset));
  }

  async drain() {
    while (!(await this.iterator.next()).done);
  }
}

export class VhdError extends Error {}

const readFooter = (bytes) => {
  if (bytes.toString('latin1', 0, 8) !== 'conectix') throw new VhdError('no VHD: its footer has another mark');
  if (bytes.readUInt32BE(64) !== checksum(bytes, 64)) throw new VhdError('the checksum of the footer is wrong');
  return {
    header: Number(bytes.readBigUInt64BE(16)),
    size: Number(bytes.readBigUInt64BE(48)),
    type: bytes.readUInt32BE(60),
  };
};

const readHeader = (bytes) => {
  if (bytes.toString('latin1', 0, 8) !== 'cxsparse') throw new VhdError('the header has another mark');
  if (bytes.readUInt32BE(36) !== checksum(bytes, 36)) throw new VhdError('the checksum of the header is wrong');
  const blockSize = bytes.readUInt32BE(32);
  if (blockSize < SECTOR || blockSize % SECTOR !== 0 || blockSize > 64 << 20) throw new VhdError('an odd block size');
  return { table: Number(bytes.readBigUInt64BE(16)), entries: bytes.readUInt32BE(28), blockSize };
};

/**
 * Writes the contents of a dynamic VHD into a raw file of `size` bytes; what the VHD does not have stays as it is.
 * @param {AsyncIterable<Buffer>} stream
 * @param {string} path
 * @param {number} size
 * @throws {VhdError}
 */
export const decodeVhd = async (stream, path, size) => {
  const source = new Source(stream);
  const footer = readFooter(await source.take(SECTOR));
  if (footer.type !== DYNAMIC) throw new VhdError(`disks of type ${footer.type} cannot be streamed`);
  if (footer.size > size) throw new VhdError(`a disk of ${footer.size} bytes does not fit ${size}`);
  await source.skipTo(footer.header);
  const { table, entries, blockSize } = readHeader(await source.take(1024));
  if (entries * blockSize < footer.size || entries > 1 << 22) throw new VhdError('the table does not fit the disk');
  await source.skipTo(table);
  const bat = await source.take(Math.ceil((entries * 4) / SECTOR) * SECTOR);
  const blocks = [];
  for (let index = 0; index < entries; index++) {
    const sector = bat.readUInt32BE(index * 4);
    if (sector !== UNUSED) blocks.push({ index, at: sector * SECTOR });
  }
  blocks.sort((a, b) => a.at - b.at);
  const file = await open(path, 'r+');
  try {
    for (const { index, at } of blocks) {
      await source.skipTo(at);
      const bitmap = await source.take(bitmapBytes(blockSize));
      const data = await source.take(blockSize);
      await writeSectors(file, bitmap, data, index * blockSize, footer.size);
    }
  } finally {
    await file.close();
  }
  await source.drain();
};

const writeSectors = async (file, bitmap, data, start, size) => {
  const sectors = Math.min(data.length, Math.max(0, size - start)) / SECTOR;
  const isSet = (n) => n < sectors && (bitmap[n >> 3] & (0x80 >> (n & 7))) !== 0;
  for (let n = 0; n < sectors; n++) {
    if (!isSet(n)) continue;
    const first = n;
    while (isSet(n)) n++;
    await file.write(data, first * SECTOR, (n - first) * SECTOR, start + first * SECTOR);
  }
};

const footerOf = (size) => {
  const bytes = Buffer.alloc(SECTOR);
  bytes.write('conectix', 0, 'latin1');
  bytes.writeUInt32BE(2, 8);
  bytes.writeUInt32BE(0x10000, 12);
  bytes.writeBigUInt64BE(BigInt(SECTOR), 16);
  bytes.writeUInt32BE(Math.floor(Date.now() / 1000) - SECONDS_TO_2000, 24);
  // Readers take the size from the footer, not from the geometry, when the creator is a known one.
  bytes.write('tap\0', 28, 'latin1');
  bytes.writeUInt32BE(0x10003, 32);
  bytes.writeBigUInt64BE(BigInt(size), 40);
  bytes.writeBigUInt64BE(BigInt(size), 48);
  const sectors = Math.min(size / SECTOR, 65535 * 16 * 255);
  bytes.writeUInt16BE(Math.min(65535, Math.floor(sectors / (16 * 255))), 56);
  bytes[58] = 16;
  bytes[59] = 255;
  bytes.writeUInt32BE(DYNAMIC, 60);
  randomBytes(16).copy(bytes, 68);
  bytes.writeUInt32BE(checksum(bytes, 64), 64);
  return bytes;
};

const headerOf = (entries) => {
  const bytes = Buffer.alloc(1024);
  bytes.write('cxsparse', 0, 'latin1');
  bytes.writeBigUInt64BE(0xffffffffffffffffn, 8);
  bytes.writeBigUInt64BE(BigInt(SECTOR + 1024), 16);
  bytes.writeUInt32BE(0x10000, 24);
  bytes.writeUInt32BE(entries, 28);
  bytes.writeUInt32BE(BLOCK, 32);
  bytes.writeUInt32BE(checksum(bytes, 36), 36);
  return bytes;
};

/**
 * The contents of a raw file as a dynamic VHD; blocks of zeros are left out.
 * @param {string} path
 * @param {number} size a multiple of 512
 * @returns {AsyncGenerator<Buffer>}
 */
export async function* encodeVhd(path, size) {
  const entries = Math.ceil(size / BLOCK);
  const bat = Buffer.alloc(Math.ceil((entries * 4) / SECTOR) * SECTOR, 0xff);
  const bitmap = Buffer.alloc(bitmapBytes(BLOCK), 0xff);
  const zeros = Buffer.alloc(BLOCK);
  const file = await open(path, 'r');
  try {
    const read = async (index) => {
      const block = Buffer.alloc(BLOCK);
      await file.read(block, 0, Math.min(BLOCK, size - index * BLOCK), index * BLOCK);
      return block;
    };
    let next = (SECTOR + 1024 + bat.length) / SECTOR;
    for (let index = 0; index < entries; index++)
      if (!(await read(index)).equals(zeros)) {
        bat.writeUInt32BE(next, index * 4);
        next += (bitmap.length + BLOCK) / SECTOR;
      }
    const footer = footerOf(size);
    yield Buffer.concat([footer, headerOf(entries), bat]);
    for (let index = 0; index < entries; index++)
      if (bat.readUInt32BE(index * 4) !== UNUSED) {
        yield bitmap;
        yield await read(index);
      }
    yield footer;
  } finally {
    await file.close();
  }
}
