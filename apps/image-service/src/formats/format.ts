import type { ImageFormat } from '@omnivisor/contracts';
import type { ByteWindows } from './windows.js';

/** A format as the bytes show it. `raw` is what nobody recognizes; `gpt` a raw disk with an MBR or GPT label. */
export type DetectedFormat =
  | 'raw'
  | 'gpt'
  | 'qcow2'
  | 'vmdk'
  | 'vhd'
  | 'vhdx'
  | 'vdi'
  | 'iso'
  | 'ploop'
  | 'luks'
  | 'qed'
  | 'ova';

/** Reads one format from what was seen of the stream. It is asked again as more comes in. */
export interface FormatReader {
  readonly format: DetectedFormat;
  detect(seen: ByteWindows): boolean;
  /** Why nobody may open an image of this format; called only when it was detected. */
  problems(seen: ByteWindows): string[];
  /** Size of the disk inside in bytes; null when it cannot be told. */
  virtualSize(seen: ByteWindows): number | null;
  /** The exact form, where the format has several. */
  form?(seen: ByteWindows): ImageFormat;
  /** Asks for a further region of the stream, once the head is complete. */
  prepare?(seen: ByteWindows): void;
}

export const SECTOR = 512;

/** An unsigned 64-bit number; null beyond what a number holds exactly. */
export const safeSize = (value: bigint): number | null =>
  value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : null;

/**
 * True when the head has `magic` at `offset`, and a whole sector was seen: shorter files are nothing but raw bytes.
 * @param least bytes that must have been seen, where another number holds
 */
export const magicAt = (seen: ByteWindows, offset: number, magic: Buffer | string, least = SECTOR): boolean => {
  const bytes = typeof magic === 'string' ? Buffer.from(magic, 'latin1') : magic;
  return (
    seen.head.length >= Math.max(least, offset + bytes.length) &&
    seen.head.subarray(offset, offset + bytes.length).equals(bytes)
  );
};
