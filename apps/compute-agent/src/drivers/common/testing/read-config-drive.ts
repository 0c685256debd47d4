const SECTOR = 2048;

/** A reader of its own for one of the two trees of a config drive, 16 plain and 17 Joliet: every file with its bytes. */
export const readConfigDrive = (image: Buffer, volume: 16 | 17): Record<string, string> => {
  const files: Record<string, string> = {};
  const name = (bytes: Buffer) =>
    volume === 17 ? Buffer.from(bytes).swap16().toString('utf16le') : bytes.toString('latin1');
  const walk = (sector: number, size: number, path: string) => {
    for (let at = sector * SECTOR; at < sector * SECTOR + size; ) {
      const length = image[at]!;
      if (length === 0) {
        at = Math.ceil((at + 1) / SECTOR) * SECTOR;
        continue;
      }
      const [start, bytes, flags] = [image.readUInt32LE(at + 2), image.readUInt32LE(at + 10), image[at + 25]!];
      if (image.readUInt32BE(at + 6) !== start || image.readUInt32BE(at + 14) !== bytes)
        throw new Error('the two byte orders of a record differ');
      const id = image.subarray(at + 33, at + 33 + image[at + 32]!);
      const isDot = id.length === 1 && id[0]! < 2;
      if (!isDot && flags & 2) walk(start, bytes, `${path}${name(id)}/`);
      else if (!isDot) files[path + name(id)] = image.toString('latin1', start * SECTOR, start * SECTOR + bytes);
      at += length;
    }
  };
  const root = volume * SECTOR + 156;
  walk(image.readUInt32LE(root + 2), image.readUInt32LE(root + 10), '');
  return files;
};
