import { z } from 'zod';

/**
 * The forms in which the bytes of an image can be had. Where Glance has one name for several, the plain name is what
 * most programs expect.
 */
export const ImageFormat = z.enum([
  /** The disk as the guest sees it. */
  'raw',
  'qcow2',
  /** Dynamic VHD of the exact size. */
  'vhd',
  /** Fixed VHD, its disk padded with zeros to a multiple of 1 MiB, as Azure wants it. */
  'vhd-fixed',
  'vhdx',
  /** VMDK of the subformat streamOptimized. */
  'vmdk',
  /** VMDK of the subformat monolithicSparse. */
  'vmdk-sparse',
  'vdi',
  /** An OVF descriptor with one streamOptimized VMDK, in a tar. */
  'ova',
  /** A machine image: the bytes of `raw`, booted by the kernel and the RAM disk beside it. */
  'ami',
  /** The kernel of the guest. */
  'aki',
  /** The initial RAM disk of the guest. */
  'ari',
  /** These are accepted as they are, and made from nothing else. */
  'iso',
  'ploop',
]);
export type ImageFormat = z.infer<typeof ImageFormat>;

/** What Glance calls a form: `disk_format` and `container_format`. */
export const glanceFormat = (format: ImageFormat): { disk: string; container: string } => {
  if (format === 'ova') return { disk: 'vmdk', container: 'ova' };
  if (format === 'ami' || format === 'aki' || format === 'ari') return { disk: format, container: format };
  return { disk: format.replace(/-(fixed|sparse)$/, ''), container: 'bare' };
};
