import { describe, expect, it } from 'vitest';
import { writeConfigDrive } from './config-drive.js';

const SECTOR = 2048;
const text = (value: string) => Buffer.from(value);

/** A reader of its own for one of the two trees: every file with its path and bytes. */
const readBack = (image: Buffer, volume: 16 | 17): Record<string, string> => {
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
      expect([image.readUInt32BE(at + 6), image.readUInt32BE(at + 14)]).toEqual([start, bytes]);
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

describe('a config drive', () => {
  const files = new Map<string, Uint8Array>([
    ['openstack/latest/meta_data.json', text('{"uuid":"x"}')],
    ['openstack/latest/user_data', text('u'.repeat(5000))],
    ['ec2/latest/empty', text('')],
    ...Array.from(
      { length: 60 },
      (_, i) => [`openstack/content/${String(i).padStart(4, '0')}`, text(`c${i}`)] as const,
    ),
  ]);
  const image = writeConfigDrive(files);

  it('is labelled config-2 in both of its trees', () => {
    expect(image.toString('latin1', 16 * SECTOR + 40, 16 * SECTOR + 72).trim()).toBe('config-2');
    expect(image.readUInt32LE(16 * SECTOR + 80) * SECTOR).toBe(image.length);
  });

  it('gives back every file under its own name', () => {
    const expected = Object.fromEntries(
      [...files].map(([path, bytes]) => [`${path};1`, Buffer.from(bytes).toString()]),
    );
    expect(readBack(image, 17)).toEqual(expected);
  });

  it('has capital letters in the tree for old readers', () => {
    expect(Object.keys(readBack(image, 16))).toContain('OPENSTACK/LATEST/META_DATA.JSON;1');
  });

  it('is longer than what readers of labels read at once', () => {
    expect(writeConfigDrive(new Map()).length).toBeGreaterThan(0x11000);
  });

  it('is the same for the same files', () => {
    expect(writeConfigDrive(files).equals(image)).toBe(true);
  });

  it.each(['../x', 'a//b', '/etc/passwd', 'a b', 'ü', '.', 'a/..', '1/2/3/4/5/6/7/8'])(
    'refuses the path %j',
    (path) => {
      expect(() => writeConfigDrive(new Map([[path, text('')]]))).toThrow(expect.objectContaining({ code: 'fault' }));
    },
  );
});
