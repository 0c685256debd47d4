/** One regular file of a tar archive. */
export interface TarEntry {
  readonly name: string;
  readonly size: number;
  /** Where its bytes begin. */
  readonly offset: number;
}

export const TAR_BLOCK = 512;

const text = (field: Buffer): string => {
  const zero = field.indexOf(0);
  return (zero < 0 ? field : field.subarray(0, zero)).toString('utf8');
};

/** Octal digits, or GNU's big-endian number for what they cannot hold; null when it is neither. */
const number = (field: Buffer): number | null => {
  if (field[0] === 0x80) {
    const value = field.subarray(1).reduce((sum, byte) => sum * 256 + byte, 0);
    return Number.isSafeInteger(value) ? value : null;
  }
  const digits = text(field).trim();
  return /^[0-7]{1,12}$/.test(digits) ? Number.parseInt(digits, 8) : null;
};

export const isZero = (block: Buffer): boolean => block.every((byte) => byte === 0);

/**
 * A header block. Only plain files with plain names exist here: no folders, links, devices, nor entries that rename
 * the next one.
 * @returns what is wrong with it, as a text
 */
export const readTarHeader = (block: Buffer, at: number): TarEntry | string => {
  const sum = block.reduce((all, byte, i) => all + (i >= 148 && i < 156 ? 32 : byte), 0);
  if (number(block.subarray(148, 156)) !== sum) return 'an entry of its archive is damaged';
  const type = block[156]!;
  if (type !== 0x30 && type !== 0) return 'its archive has entries that are no plain files';
  const name = text(block.subarray(0, 100));
  const prefix = text(block.subarray(257, 262)) === 'ustar' ? text(block.subarray(345, 500)) : '';
  if (prefix !== '' || !/^[^\p{Cc}\p{Cs}\uFFFD/\\]{1,100}$/u.test(name) || name.startsWith('.'))
    return 'its archive has entries with unusual names';
  const size = number(block.subarray(124, 136));
  return size === null ? 'an entry of its archive is damaged' : { name, size, offset: at + TAR_BLOCK };
};

/** Space that an entry's bytes take in the archive. */
export const padded = (size: number): number => Math.ceil(size / TAR_BLOCK) * TAR_BLOCK;

/** The header of a plain file, the same each time. */
export const tarHeader = (name: string, size: number): Buffer => {
  const block = Buffer.alloc(TAR_BLOCK);
  block.write(name, 0, 100);
  block.write('0000644\0', 100);
  block.write('0000000\0', 108);
  block.write('0000000\0', 116);
  if (size < 8 ** 11) block.write(`${size.toString(8).padStart(11, '0')}\0`, 124);
  else {
    block[124] = 0x80;
    block.writeBigUInt64BE(BigInt(size), 128);
  }
  block.write('00000000000\0', 136);
  block.write('        0', 148);
  block.write('ustar\0', 257);
  block.write('00', 263);
  const sum = block.reduce((all, byte) => all + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return block;
};
