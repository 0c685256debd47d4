/** The part of MessagePack that Keystone's token payloads use. */

export type Packed = null | boolean | number | string | Uint8Array | readonly Packed[];

export const pack = (value: Packed): Buffer => {
  const parts: Buffer[] = [];
  write(value, parts);
  return Buffer.concat(parts);
};

const write = (value: Packed, out: Buffer[]): void => {
  if (value === null) out.push(Buffer.of(0xc0));
  else if (value === true || value === false) out.push(Buffer.of(value ? 0xc3 : 0xc2));
  else if (typeof value === 'number') out.push(number(value));
  else if (typeof value === 'string') {
    const bytes = Buffer.from(value);
    out.push(head(bytes.length, 0xa0, 31, 0xd9), bytes);
  } else if (value instanceof Uint8Array) {
    out.push(head(value.length, undefined, 0, 0xc4), Buffer.from(value));
  } else {
    out.push(
      value.length < 16 ? Buffer.of(0x90 | value.length) : Buffer.of(0xdc, value.length >> 8, value.length & 255),
    );
    for (const item of value) write(item, out);
  }
};

const head = (length: number, fix: number | undefined, max: number, long: number): Buffer => {
  if (fix !== undefined && length <= max) return Buffer.of(fix | length);
  return length < 256 ? Buffer.of(long, length) : Buffer.of(long + 1, length >> 8, length & 255);
};

const number = (value: number): Buffer => {
  if (Number.isInteger(value) && value >= 0 && value < 128) return Buffer.of(value);
  if (Number.isInteger(value) && value >= 0 && value < 256) return Buffer.of(0xcc, value);
  const bytes = Buffer.alloc(9);
  bytes[0] = 0xcb;
  bytes.writeDoubleBE(value, 1);
  return bytes;
};

/** @throws RangeError on anything that `pack` does not write */
export const unpack = (bytes: Buffer): Packed => {
  let at = 0;
  const take = (n: number): Buffer => {
    if (at + n > bytes.length) throw new RangeError('ends too early');
    at += n;
    return bytes.subarray(at - n, at);
  };
  const read = (depth: number): Packed => {
    if (depth > 4) throw new RangeError('nested too deeply');
    const tag = take(1)[0]!;
    if (tag < 0x80) return tag;
    if ((tag & 0xf0) === 0x90) return Array.from({ length: tag & 15 }, () => read(depth + 1));
    if ((tag & 0xe0) === 0xa0) return take(tag & 31).toString();
    switch (tag) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
        return Buffer.from(take(take(1)[0]!));
      case 0xc5:
        return Buffer.from(take(take(2).readUInt16BE()));
      case 0xcb:
        return take(8).readDoubleBE();
      case 0xcc:
        return take(1)[0]!;
      case 0xcd:
        return take(2).readUInt16BE();
      case 0xce:
        return take(4).readUInt32BE();
      case 0xd9:
        return take(take(1)[0]!).toString();
      case 0xda:
        return take(take(2).readUInt16BE()).toString();
      case 0xdc:
        return Array.from({ length: take(2).readUInt16BE() }, () => read(depth + 1));
      default:
        throw new RangeError(`tag ${tag} is not read here`);
    }
  };
  const value = read(0);
  if (at !== bytes.length) throw new RangeError('goes on too long');
  return value;
};
