import { createHash, hash as digest } from 'node:crypto';

/** 32 bytes of SHA-256. */
export type Hash = Buffer;

const LEAF = '\0';
const NODE = Buffer.of(1);

/** The root of a tree without leaves. */
export const EMPTY_ROOT: Hash = createHash('sha256').digest();

/** RFC 6962, 2.1. A text goes in one piece: that is a third cheaper. */
export const leafHash = (leaf: string | Uint8Array): Hash =>
  typeof leaf === 'string'
    ? digest('sha256', LEAF + leaf, 'buffer')
    : createHash('sha256').update(LEAF).update(leaf).digest();
export const nodeHash = (left: Hash, right: Hash): Hash =>
  createHash('sha256').update(NODE).update(left).update(right).digest();

/** Hashes of complete subtrees: `(level, index)` covers the leaves from `index * 2^level` on, 2^level of them. */
export interface HashSource {
  hash(level: number, index: number): Promise<Hash>;
}

const isPowerOfTwo = (n: number): boolean => 2 ** Math.floor(Math.log2(n)) === n;
/** The largest power of two smaller than `n`; `n` is at least 2. */
const split = (n: number): number => {
  let k = 1;
  while (k * 2 < n) k *= 2;
  return k;
};

/** The root over `size` leaves from `start` on; `start` is a multiple of the first subtree's size. */
const rangeRoot = async (source: HashSource, start: number, size: number): Promise<Hash> => {
  if (size === 0) return EMPTY_ROOT;
  if (isPowerOfTwo(size)) return source.hash(Math.log2(size), start / size);
  const k = split(size);
  return nodeHash(await rangeRoot(source, start, k), await rangeRoot(source, start + k, size - k));
};

/** The root of the tree over the first `size` leaves. */
export const rootOf = (source: HashSource, size: number): Promise<Hash> => rangeRoot(source, 0, size);

/** Audit path of leaf `index` in the tree of `size` leaves, from the leaf up; RFC 6962, 2.1.1. */
export const inclusionProof = async (source: HashSource, index: number, size: number): Promise<Hash[]> => {
  const path = async (at: number, start: number, length: number): Promise<Hash[]> => {
    if (length === 1) return [];
    const k = split(length);
    return at < k
      ? [...(await path(at, start, k)), await rangeRoot(source, start + k, length - k)]
      : [...(await path(at - k, start + k, length - k)), await rangeRoot(source, start, k)];
  };
  if (index < 0 || index >= size) throw new RangeError(`leaf ${index} is not in a tree of ${size}`);
  return path(index, 0, size);
};

/** Proof that the tree of `older` leaves is the beginning of the tree of `newer` leaves; RFC 6962, 2.1.2. */
export const consistencyProof = async (source: HashSource, older: number, newer: number): Promise<Hash[]> => {
  const subproof = async (m: number, start: number, n: number, whole: boolean): Promise<Hash[]> => {
    if (m === n) return whole ? [] : [await rangeRoot(source, start, n)];
    const k = split(n);
    return m <= k
      ? [...(await subproof(m, start, k, whole)), await rangeRoot(source, start + k, n - k)]
      : [...(await subproof(m - k, start + k, n - k, false)), await rangeRoot(source, start, k)];
  };
  if (older < 0 || older > newer) throw new RangeError(`a tree of ${older} is not older than one of ${newer}`);
  return older === 0 ? [] : subproof(older, 0, newer, true);
};

/** RFC 9162, 2.1.3.2. */
export const isIncluded = (leaf: Hash, index: number, size: number, proof: readonly Hash[], root: Hash): boolean => {
  if (index < 0 || index >= size) return false;
  let [at, last, hash] = [index, size - 1, leaf];
  for (const step of proof) {
    if (last === 0) return false;
    if (at % 2 === 1 || at === last) {
      hash = nodeHash(step, hash);
      while (at % 2 === 0 && at !== 0) [at, last] = [Math.floor(at / 2), Math.floor(last / 2)];
    } else hash = nodeHash(hash, step);
    [at, last] = [Math.floor(at / 2), Math.floor(last / 2)];
  }
  return last === 0 && hash.equals(root);
};

/** RFC 9162, 2.1.4.2. */
export const isConsistent = (
  older: { readonly size: number; readonly root: Hash },
  newer: { readonly size: number; readonly root: Hash },
  proof: readonly Hash[],
): boolean => {
  if (older.size > newer.size) return false;
  if (older.size === newer.size) return proof.length === 0 && older.root.equals(newer.root);
  if (older.size === 0) return proof.length === 0;
  const path = isPowerOfTwo(older.size) ? [older.root, ...proof] : [...proof];
  const first = path.shift();
  if (!first) return false;
  let [at, last] = [older.size - 1, newer.size - 1];
  while (at % 2 === 1) [at, last] = [Math.floor(at / 2), Math.floor(last / 2)];
  let [oldRoot, newRoot] = [first, first];
  for (const step of path) {
    if (last === 0) return false;
    if (at % 2 === 1 || at === last) {
      oldRoot = nodeHash(step, oldRoot);
      newRoot = nodeHash(step, newRoot);
      while (at % 2 === 0 && at !== 0) [at, last] = [Math.floor(at / 2), Math.floor(last / 2)];
    } else newRoot = nodeHash(newRoot, step);
    [at, last] = [Math.floor(at / 2), Math.floor(last / 2)];
  }
  return last === 0 && oldRoot.equals(older.root) && newRoot.equals(newer.root);
};

/** The right edge of a growing tree: enough to append leaves and to know the root. */
export class CompactRange {
  /** Roots of the complete subtrees that the tree consists of, the largest first. */
  private readonly roots: { readonly level: number; readonly hash: Hash }[] = [];
  private leaves = 0;

  get size(): number {
    return this.leaves;
  }

  /** Takes up a tree of `size` leaves. */
  static async of(source: HashSource, size: number): Promise<CompactRange> {
    const range = new CompactRange();
    for (let rest = size; rest > 0; ) {
      const level = Math.floor(Math.log2(rest));
      range.roots.push({ level, hash: await source.hash(level, range.leaves / 2 ** level) });
      range.leaves += 2 ** level;
      rest -= 2 ** level;
    }
    return range;
  }

  /** @param completed told of each subtree that this leaf completes, the leaf itself first */
  append(leaf: Hash, completed: (level: number, index: number, hash: Hash) => void = () => {}): void {
    let hash = leaf;
    let level = 0;
    let index = this.leaves;
    completed(0, index, hash);
    while (this.roots.at(-1)?.level === level) {
      hash = nodeHash(this.roots.pop()!.hash, hash);
      level++;
      index = Math.floor(index / 2);
      completed(level, index, hash);
    }
    this.roots.push({ level, hash });
    this.leaves++;
  }

  root(): Hash {
    let root: Hash | undefined;
    for (let i = this.roots.length - 1; i >= 0; i--)
      root = root === undefined ? this.roots[i]!.hash : nodeHash(this.roots[i]!.hash, root);
    return root ?? EMPTY_ROOT;
  }
}
