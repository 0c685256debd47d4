import type { ImageFormat } from '@omnivisor/contracts';
import { ovaSegments } from './ova-writer.js';
import type { Segment } from './segments.js';
import { fixedVhdFooter } from './vhd-footer.js';

const MIB = 1024 * 1024;
const FOOTER = 512;

/** Bytes that are there, in a form of which others can be put together. */
export interface Base {
  readonly form: ImageFormat;
  readonly key: string;
  readonly size: number;
  /** Null for bytes that came before it was kept. */
  readonly sha256: string | null;
  /** Of the disk inside. */
  readonly virtualSize: number;
}

/** Which form a composed one is put together from; undefined for one that needs a conversion. */
export const baseOf = (format: ImageFormat): ImageFormat | undefined =>
  (({ 'vhd-fixed': 'raw', ami: 'raw', ova: 'vmdk' }) as const)[format as 'ova'];

/** Forms whose bytes are the disk, as they lie. */
const PLAIN: ReadonlySet<ImageFormat> = new Set(['raw', 'ami', 'vhd-fixed']);
export const isPlain = (form: ImageFormat): boolean => PLAIN.has(form);

/**
 * A form put together from bytes that are kept for another one; nothing is stored for it. The same each time.
 * @param identity a UUID and a time that the form carries where its format wants one
 * @returns null when the base does not allow it
 */
export const compose = (
  format: ImageFormat,
  base: Base,
  identity: { readonly id: string; readonly at: string },
): Segment[] | null => {
  const blob = (length: number) => ({ kind: 'blob', key: base.key, start: 0, length }) as const;
  if (format === 'ova')
    return base.form === 'vmdk' && base.sha256 !== null
      ? ovaSegments(`image-${identity.id.slice(0, 8)}`, {
          segment: blob(base.size),
          sha256: base.sha256,
          virtualSize: base.virtualSize,
        })
      : null;
  if (!isPlain(base.form) || !isPlain(format)) return null;
  const disk = blob(base.form === 'vhd-fixed' ? base.size - FOOTER : base.size);
  if (format !== 'vhd-fixed') return [disk];
  const size = Math.ceil(disk.length / MIB) * MIB;
  return [
    disk,
    { kind: 'zeros', length: size - disk.length },
    { kind: 'bytes', bytes: fixedVhdFooter(size, identity.id, identity.at) },
  ];
};
