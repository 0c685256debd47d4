import { Readable } from 'node:stream';
import type { ByteRange, ImageStore } from '../store/index.js';

/** A piece of a form: bytes of its own, zeros, or a stretch of a stored blob. */
export type Segment =
  | { readonly kind: 'bytes'; readonly bytes: Buffer }
  | { readonly kind: 'zeros'; readonly length: number }
  | { readonly kind: 'blob'; readonly key: string; readonly start: number; readonly length: number };

const ZEROS = Buffer.alloc(256 * 1024);

const lengthOf = (segment: Segment): number => (segment.kind === 'bytes' ? segment.bytes.length : segment.length);

export const sizeOf = (segments: readonly Segment[]): number => segments.reduce((sum, s) => sum + lengthOf(s), 0);

const cut = (segment: Segment, from: number, to: number): Segment => {
  if (segment.kind === 'bytes') return { kind: 'bytes', bytes: segment.bytes.subarray(from, to) };
  if (segment.kind === 'zeros') return { kind: 'zeros', length: to - from };
  return { ...segment, start: segment.start + from, length: to - from };
};

/** The part of the pieces that a range covers. */
const within = (segments: readonly Segment[], { start, end }: ByteRange): Segment[] => {
  const parts: Segment[] = [];
  let at = 0;
  for (const segment of segments) {
    const length = lengthOf(segment);
    const from = Math.max(0, start - at);
    const to = Math.min(length, end + 1 - at);
    if (from < to) parts.push(cut(segment, from, to));
    at += length;
  }
  return parts;
};

/** Opens all blobs before the first byte, so that one that is removed meanwhile can still be read to its end. */
export const readSegments = async (
  store: ImageStore,
  segments: readonly Segment[],
  range?: ByteRange,
): Promise<Readable> => {
  const parts = (range ? within(segments, range) : segments).filter((s) => lengthOf(s) > 0);
  const open = async (s: Segment): Promise<Readable | null> =>
    s.kind === 'blob' ? store.read(s.key, { start: s.start, end: s.start + s.length - 1 }) : null;
  const opened: (Readable | null)[] = [];
  try {
    for (const part of parts) opened.push(await open(part));
  } catch (error) {
    for (const stream of opened) stream?.destroy();
    throw error;
  }
  if (parts.length === 1 && opened[0]) return opened[0];
  const readable = Readable.from(chunks(parts, opened), { objectMode: false, highWaterMark: ZEROS.length });
  readable.once('close', () => {
    for (const stream of opened) stream?.destroy();
  });
  return readable;
};

async function* chunks(parts: readonly Segment[], opened: readonly (Readable | null)[]): AsyncGenerator<Buffer> {
  for (const [i, part] of parts.entries()) {
    if (part.kind === 'bytes') yield part.bytes;
    else if (part.kind === 'zeros')
      for (let left = part.length; left > 0; left -= ZEROS.length)
        yield ZEROS.subarray(0, Math.min(left, ZEROS.length));
    else yield* opened[i]!;
  }
}
