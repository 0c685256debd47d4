import { describe, expect, it } from 'vitest';
import { seeded } from '../../formats/mutations.js';
import { type NewKey, newHive } from '../../testing/hive-writer.js';
import { BoundedDisk, diskOf, Unreadable } from '../disk.js';
import { Hive, type Key } from './hive.js';

const LIMITS = { bytes: 64 * 1024 * 1024, reads: 20_000 };
const open = (bytes: Buffer) => Hive.open(new BoundedDisk(diskOf(bytes), LIMITS));
const many = (count: number): NonNullable<NewKey['keys']> =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [`key${i}`, { values: { Number: i } }]));
const LONG = Buffer.from(Array.from({ length: 40_000 }, (_, i) => (i * 7919) % 251));
const SAMPLE = newHive({
  values: { Text: 'some words', Number: 7, Short: Buffer.from('ab'), Long: LONG },
  keys: {
    lf: { list: 'lf', keys: many(5) },
    lh: { list: 'lh', keys: many(50) },
    li: { list: 'li', keys: many(5) },
    ri: { list: 'ri', keys: many(300) },
  },
});

describe('a hive of the registry', () => {
  it.each(['lf', 'lh', 'li', 'ri'])('gives its keys by name in any case where they are listed by %s', async (list) => {
    const hive = await open(SAMPLE);
    const key = await hive.key([list.toUpperCase(), 'KEY4']);
    expect(key && (await hive.number(key, 'number'))).toBe(4);
    expect(await hive.key([list, 'key999'])).toBeUndefined();
  });
  it('gives values of any length, and what they are', async () => {
    const hive = await open(SAMPLE);
    const root = (await hive.key([]))!;
    expect(await hive.text(root, 'text')).toBe('some words');
    expect([await hive.text(root, 'Number'), await hive.number(root, 'Text')]).toEqual([undefined, undefined]);
    expect((await hive.value(root, 'Short'))?.data.toString()).toBe('ab');
    expect((await hive.value(root, 'Long'))?.data.equals(LONG)).toBe(true);
    expect(await hive.value(root, 'none')).toBeUndefined();
  });
  it.each([
    ['empty', Buffer.alloc(0)],
    ['something else', Buffer.alloc(8192, 1)],
    ['cut off', SAMPLE.subarray(0, SAMPLE.length - 4096)],
  ])('is refused that is %s', (_, bytes) => expect(open(bytes)).rejects.toThrow(Unreadable));
  it('whose lists go round in circles comes to an end', async () => {
    const bytes = Buffer.from(SAMPLE);
    const at = bytes.indexOf(Buffer.from('ri\x02\0', 'latin1'));
    bytes.writeUInt32LE(at - 4 - 4096, at + 4);
    const hive = await open(bytes);
    await expect(hive.key(['ri', 'key7'])).rejects.toThrow(Unreadable);
  });
  it('that somebody tampered with comes to an end, and foresees every error', async () => {
    const random = seeded(9);
    let refused = 0;
    for (let round = 0; round < Number(process.env.OMNIVISOR_FUZZ_ROUNDS ?? 60); round++) {
      const bytes = Buffer.from(SAMPLE);
      for (let left = 1 + random(30); left > 0; left--) bytes[random(bytes.length)] = random(2) ? random(256) : 255;
      try {
        const hive = await open(bytes);
        const walk = async (key: Key, depth: number): Promise<void> => {
          for (const name of ['Text', 'Number', 'Long']) await hive.value(key, name);
          if (depth < 4) for await (const child of hive.children(key)) await walk(child, depth + 1);
        };
        await walk((await hive.key([]))!, 0);
      } catch (error) {
        expect(error).toBeInstanceOf(Unreadable);
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(10);
  });
});
