import type { ImageFormat } from '@omnivisor/contracts';
import { LOOK_BYTES } from '../guest/look-task.js';
import type { ImageRow } from '../image/image.projection.js';
import { baseOf, isPlain } from './compositions.js';
import { outputBound } from './qemu-img.js';

/** The exact form of an image's bytes; null for a container that nobody looks into. */
export const formOf = (row: ImageRow): ImageFormat | null => {
  if (row.format) return row.format;
  // Bytes that were looked at before their form was kept. A stream passes for the more general kind, and is made anew.
  if (row.diskFormat === 'vmdk' && row.containerFormat === 'bare') return 'vmdk-sparse';
  const bare = row.containerFormat === 'bare' || row.containerFormat === row.diskFormat;
  return bare ? (row.diskFormat as ImageFormat | null) : null;
};

const MIB = 1024 * 1024;
const VHD_FOOTER = 512;

/** True when the image's bytes are what is given out as this form. A fixed VHD is, when its disk has whole MiB. */
export const isOriginal = (row: ImageRow, format: ImageFormat): boolean =>
  formOf(row) === format && (format !== 'vhd-fixed' || ((row.size ?? 0) - VHD_FOOTER) % MIB === 0);

/** The most bytes that may be stored to make an image's form; 0 for one that is put together from others. */
export const storedBound = (row: ImageRow, format: ImageFormat): number => {
  const own = formOf(row);
  if (own === format || baseOf(format) !== undefined || (own !== null && isPlain(own) && isPlain(format))) return 0;
  const bound = outputBound(row.virtualSize ?? 0);
  return format === 'aki' || format === 'ari' ? Math.min(bound, LOOK_BYTES) : bound;
};
