import { describe, expect, it } from 'vitest';
import { ImageInspector } from './inspector.js';
import { mutated, seeded } from './mutations.js';
import * as vectors from './vectors.js';

const originals: readonly (readonly [disk: string, container: string, bytes: Buffer])[] = [
  ['qcow2', 'bare', vectors.qcow2Image()],
  ['qcow2', 'bare', vectors.qcow2Image({ version: 2 })],
  ['vmdk', 'bare', vectors.vmdkImage()],
  ['vmdk', 'bare', vectors.vmdkImage({ footer: 'good' })],
  ['vhd', 'bare', vectors.dynamicVhd()],
  ['vhd', 'bare', vectors.fixedVhd()],
  ['vhdx', 'bare', vectors.vhdxImage()],
  ['vdi', 'bare', vectors.vdiImage()],
  ['iso', 'bare', vectors.isoImage()],
  ['raw', 'bare', vectors.labelledImage()],
  ['vmdk', 'ova', vectors.ovaImage()],
];
const ROUNDS = Number(process.env.OMNIVISOR_FUZZ_ROUNDS ?? 150);

const verdict = (bytes: Buffer, disk: string, container: string, step: number) => {
  const inspector = new ImageInspector(disk, container);
  for (let at = 0; at < bytes.length; at += step) {
    const refusal = inspector.feed(bytes.subarray(at, at + step));
    if (refusal !== null) return { ...inspector.end(), refusal };
  }
  return inspector.end();
};

describe('images that somebody tampered with', () => {
  it.each(originals.map((o, i) => [`${o[0]} in ${o[1]}`, i, o] as const))(
    '%s (%i) are judged in the same way however they arrive, and never by an error',
    (_, index, [disk, container, bytes]) => {
      const random = seeded(index + 1);
      let refused = 0;
      for (let round = 0; round < ROUNDS; round++) {
        const other = originals[random(originals.length)]![2];
        const image = mutated(bytes, other, random);
        const whole = verdict(image, disk, container, 1 << 30);
        expect(verdict(image, disk, container, 4096 + random(60_000)).refusal === null).toBe(whole.refusal === null);
        if (whole.refusal !== null) refused++;
        else if (container === 'bare' && disk !== 'vhd' && disk !== 'raw') expect(whole.format).toBe(disk);
      }
      expect(refused).toBeGreaterThan(ROUNDS / 10);
    },
  );

  it('cannot pass as raw while any reader sees another format in them', () => {
    const random = seeded(99);
    for (let round = 0; round < ROUNDS * 2; round++) {
      const [disk, , bytes] = originals[random(originals.length)]!;
      if (disk === 'raw' || disk === 'vhd') continue;
      const image = mutated(bytes, originals[random(originals.length)]![2], random);
      if (verdict(image, 'raw', 'bare', 1 << 30).refusal !== null) continue;
      for (const [magic, at] of [
        ['QFI\xfb', 0],
        ['KDMV', 0],
        ['COWD', 0],
        ['vhdxfile', 0],
        ['conectix', 0],
        ['CD001', 32 * 1024 + 1],
        ['\x7f\x10\xda\xbe', 64],
      ] as const)
        if (image.length >= Math.max(512, at + 2048))
          expect(image.toString('latin1', at, at + magic.length)).not.toBe(magic);
    }
  });
});
