/** A generator of numbers below `n` that always says the same for the same seed (mulberry32). */
export const seeded = (seed: number) => {
  let state = seed >>> 0;
  return (n: number): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * n);
  };
};
type Random = ReturnType<typeof seeded>;

const EXTREMES = [0n, 1n, 0x7fffffffn, 0xffffffffn, 0x8000000000000000n, 0xffffffffffffffffn, 511n, 512n, 1n << 40n];
/** Where headers lie in the formats there are. */
const HEADERS = [0, 512, 4096, 32 * 1024, 64 * 1024, 192 * 1024, 256 * 1024, 2 * 1024 * 1024];

const place = (random: Random, bytes: Buffer): number => {
  const at = HEADERS[random(HEADERS.length)]! + random(1024);
  return Math.min(random(4) === 0 ? bytes.length - 1 - random(Math.min(2048, bytes.length)) : at, bytes.length - 1);
};

const changes: readonly ((bytes: Buffer, random: Random, other: Buffer) => Buffer)[] = [
  // A bit, a byte, a number of any width at an edge of its range.
  (b, random) => {
    const at = place(random, b);
    b[at] = b[at]! ^ (1 << random(8));
    return b;
  },
  (b, random) => {
    b[place(random, b)] = random(256);
    return b;
  },
  (b, random) => {
    const at = Math.max(0, Math.min(place(random, b), b.length - 8));
    if (b.length < 8) return b;
    const value = EXTREMES[random(EXTREMES.length)]!;
    if (random(2)) b.writeBigUInt64BE(value, at);
    else b.writeBigUInt64LE(value, at);
    return b;
  },
  // Cut off, repeated, with a tail of something else.
  (b, random) => b.subarray(0, random(b.length + 1)),
  (b, random) => b.subarray(0, Math.min(b.length, 512 * random(64))),
  (b) => Buffer.concat([b, b.subarray(0, 64 * 1024)]),
  (b, _random, other) => Buffer.concat([b, other.subarray(0, 64 * 1024)]),
  // The head of another format in front, its body behind, or its sector at a place of its own.
  (b, random, other) => {
    other.copy(b, 0, 0, Math.min(b.length, 512 * (1 + random(128))));
    return b;
  },
  (b, random, other) => {
    other.copy(b, Math.min(b.length, HEADERS[random(HEADERS.length)]!), 0, Math.min(other.length, 4096));
    return b;
  },
  (b, random) => {
    b.fill(0, place(random, b), Math.min(b.length, place(random, b) + 64));
    return b;
  },
];

/** The same image with one to four things changed. */
export const mutated = (image: Buffer, other: Buffer, random: Random): Buffer => {
  let bytes: Buffer = Buffer.from(image);
  for (let left = 1 + random(4); left > 0 && bytes.length > 0; left--)
    bytes = Buffer.from(changes[random(changes.length)]!(bytes, random, other));
  return bytes;
};
