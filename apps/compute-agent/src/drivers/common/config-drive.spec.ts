import { describe, expect, it } from 'vitest';
import { writeConfigDrive } from './config-drive.js';
import { readConfigDrive } from './testing/read-config-drive.js';

const SECTOR = 2048;
const text = (value: string) => Buffer.from(value);

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
    expect(readConfigDrive(image, 17)).toEqual(expected);
  });

  it('has capital letters in the tree for old readers', () => {
    expect(Object.keys(readConfigDrive(image, 16))).toContain('OPENSTACK/LATEST/META_DATA.JSON;1');
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
