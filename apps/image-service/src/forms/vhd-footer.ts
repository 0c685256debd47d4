const SECTOR = 512;
/** VHD counts seconds from the year 2000. */
const EPOCH = Date.UTC(2000, 0, 1) / 1_000;
const FIXED = 2;

/** Cylinders, heads and sectors as the VHD specification computes them; the size itself is in a field of its own. */
const geometry = (size: number): [cylinders: number, heads: number, sectors: number] => {
  const total = Math.min(Math.floor(size / SECTOR), 65_535 * 16 * 255);
  if (total >= 65_535 * 16 * 63) return [Math.floor(total / 255 / 16), 16, 255];
  let sectors = 17;
  let cylinderHeads = Math.floor(total / sectors);
  let heads = Math.max(4, Math.floor((cylinderHeads + 1_023) / 1_024));
  if (cylinderHeads >= heads * 1_024 || heads > 16) {
    sectors = 31;
    heads = 16;
    cylinderHeads = Math.floor(total / sectors);
  }
  if (cylinderHeads >= heads * 1_024) {
    sectors = 63;
    heads = 16;
    cylinderHeads = Math.floor(total / sectors);
  }
  return [Math.floor(cylinderHeads / heads), heads, sectors];
};

/**
 * The last sector of a fixed VHD: what comes before it is the disk, byte by byte.
 * @param size of the disk in bytes
 * @param uuid of the disk, 32 hexadecimal digits with or without dashes
 */
export const fixedVhdFooter = (size: number, uuid: string, createdAt: string): Buffer => {
  const footer = Buffer.alloc(SECTOR);
  footer.write('conectix', 0, 'latin1');
  footer.writeUInt32BE(2, 8);
  footer.writeUInt32BE(0x10000, 12);
  footer.writeBigUInt64BE(0xffffffffffffffffn, 16);
  footer.writeUInt32BE(Math.max(0, Math.floor(Date.parse(createdAt) / 1_000) - EPOCH), 24);
  // Readers trust the size of makers they know and compute it from the geometry of others; this one they know.
  footer.write('qem2', 28, 'latin1');
  footer.writeUInt32BE(0x00050003, 32);
  footer.write('Wi2k', 36, 'latin1');
  footer.writeBigUInt64BE(BigInt(size), 40);
  footer.writeBigUInt64BE(BigInt(size), 48);
  const [cylinders, heads, sectors] = geometry(size);
  footer.writeUInt16BE(cylinders, 56);
  footer[58] = heads;
  footer[59] = sectors;
  footer.writeUInt32BE(FIXED, 60);
  footer.write(uuid.replaceAll('-', ''), 68, 16, 'hex');
  footer.writeUInt32BE(~footer.reduce((sum, byte) => sum + byte, 0) >>> 0, 64);
  return footer;
};
