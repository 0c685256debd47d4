/** A GUID as Microsoft's formats and GPT keep it: the first three fields in little-endian order. */
export const guidAt = (b: Buffer, at: number): string => {
  const hex = (from: number, to: number) => b.toString('hex', at + from, at + to);
  const le = (from: number, bytes: number) =>
    b
      .readUIntLE(at + from, bytes)
      .toString(16)
      .padStart(bytes * 2, '0');
  return `${le(0, 4)}-${le(4, 2)}-${le(6, 2)}-${hex(8, 10)}-${hex(10, 16)}`;
};
