import type { Letter } from './fake-guest.js';

const CLUSTER = 65_536;
const COPIED = 1n << 63n;
/** Clusters: header, refcount table, refcount block, L1 table, L2 table, the one with data. */
const [REFCOUNT_TABLE, REFCOUNTS, L1, L2, DATA] = [1, 2, 3, 4, 5];
const MAPPED_BY_L2 = CLUSTER / 8;

/** Where the letter stands: what a fake guest has written is the first byte of its second sector. */
export const LETTER_AT = DATA * CLUSTER + 512;

/**
 * A qcow2 image that is all zeros but for one letter: a disk that a fake guest could have had.
 * @param size bytes, at most 4 TiB
 */
export const fakeDiskImage = (size: number, letter: Letter): Buffer => {
  const image = Buffer.alloc((DATA + 1) * CLUSTER);
  const long = (at: number, value: number | bigint) => image.writeBigUInt64BE(BigInt(value), at);
  const word = (at: number, value: number) => image.writeUInt32BE(value, at);
  image.write('QFI\xfb', 0, 'latin1');
  word(4, 3);
  word(20, 16);
  long(24, size);
  word(36, Math.ceil(size / CLUSTER / MAPPED_BY_L2));
  long(40, L1 * CLUSTER);
  long(48, REFCOUNT_TABLE * CLUSTER);
  word(56, 1);
  word(96, 4);
  word(100, 104);
  long(REFCOUNT_TABLE * CLUSTER, REFCOUNTS * CLUSTER);
  for (let cluster = 0; cluster <= DATA; cluster++) image.writeUInt16BE(1, REFCOUNTS * CLUSTER + 2 * cluster);
  long(L1 * CLUSTER, BigInt(L2 * CLUSTER) | COPIED);
  long(L2 * CLUSTER, BigInt(DATA * CLUSTER) | COPIED);
  image.write(letter, LETTER_AT, 'latin1');
  return image;
};

/** What stands on a disk that a fake guest had; undefined for any other image. */
export const letterIn = (image: Buffer): Letter | undefined =>
  image.length === (DATA + 1) * CLUSTER && image.toString('latin1', 0, 4) === 'QFI\xfb'
    ? image.toString('latin1', LETTER_AT, LETTER_AT + 1)
    : undefined;
