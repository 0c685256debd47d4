import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  CompactRange,
  consistencyProof,
  EMPTY_ROOT,
  type Hash,
  inclusionProof,
  isConsistent,
  isIncluded,
  leafHash,
  rootOf,
} from './merkle.js';
import { type Tile, TileSource, TileWriter } from './tiles.js';

/** Leaves and roots that implementations of RFC 6962 compare themselves by. */
const LEAVES = ['', '00', '10', '2021', '3031', '40414243', '5051525354555657', '606162636465666768696a6b6c6d6e6f'];
const ROOTS = [
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
];

/** A tree of `size` leaves as tiles, written in pieces of `piece`. */
const treeOf = async (size: number, piece = size) => {
  const tiles = new Map<string, Tile>();
  const read = async (level: number, index: number) => tiles.get(`${level}/${index}`)?.hashes;
  const roots: Hash[] = [EMPTY_ROOT];
  const leaves: Hash[] = [];
  for (let done = 0; done < size; done += piece) {
    const range = await CompactRange.of(new TileSource(read), done);
    const writer = await TileWriter.of(read, done);
    for (let i = done; i < Math.min(size, done + piece); i++) {
      leaves.push(leafHash(`leaf ${i}`));
      range.append(leaves[i]!, (level, index, hash) => writer.add(level, index, hash));
      roots.push(range.root());
    }
    for (const tile of writer.take()) tiles.set(`${tile.level}/${tile.index}`, tile);
  }
  return { source: new TileSource(read), roots, leaves };
};

describe('the tree of RFC 6962', () => {
  it('has the roots that others get', () => {
    const range = new CompactRange();
    expect(range.root()).toEqual(EMPTY_ROOT);
    for (const [i, leaf] of LEAVES.entries()) {
      range.append(leafHash(Buffer.from(leaf, 'hex')));
      expect(range.root().toString('hex')).toBe(ROOTS[i]);
    }
  });

  it('is the same tree when it is written in pieces, over tiles', async () => {
    const whole = await treeOf(700);
    const pieces = await treeOf(700, 97);
    expect(pieces.roots).toEqual(whole.roots);
    for (const size of [0, 1, 255, 256, 257, 512, 699, 700])
      expect(await rootOf(whole.source, size)).toEqual(whole.roots[size]);
  });

  it('proves each leaf, and nothing else in its place', async () => {
    const { source, roots, leaves } = await treeOf(600);
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 600 }), fc.nat(), fc.nat(), async (size, a, b) => {
        const [index, other] = [a % size, b % size];
        const proof = await inclusionProof(source, index, size);
        expect(isIncluded(leaves[index]!, index, size, proof, roots[size]!)).toBe(true);
        if (other === index) return;
        expect(isIncluded(leaves[other]!, index, size, proof, roots[size]!)).toBe(false);
        expect(isIncluded(leaves[index]!, other, size, proof, roots[size]!)).toBe(false);
        expect(isIncluded(leaves[index]!, index, size, proof.slice(1), roots[size]!)).toBe(false);
      }),
      { numRuns: 300 },
    );
  });

  it('proves that it only grew', async () => {
    const { source, roots } = await treeOf(600);
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: 600 }), fc.integer({ min: 0, max: 600 }), async (a, b) => {
        const [older, newer] = [Math.min(a, b), Math.max(a, b)];
        const proof = await consistencyProof(source, older, newer);
        const from = { size: older, root: roots[older]! };
        const to = { size: newer, root: roots[newer]! };
        expect(isConsistent(from, to, proof)).toBe(true);
        if (older === 0 || older === newer) return;
        expect(isConsistent({ ...from, root: leafHash('other') }, to, proof)).toBe(false);
        expect(isConsistent(from, { ...to, root: leafHash('other') }, proof)).toBe(false);
      }),
      { numRuns: 300 },
    );
  });
});
