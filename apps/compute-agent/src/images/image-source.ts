import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { DomainError, type ImageFormat, type ImageSnapshot } from '@omnivisor/contracts';
import type { ImageCache } from '../agent/ports.js';
import { DISK_FORMATS, type DiskFormat, HypervisorError, type ImageSource } from '../drivers/hypervisor-driver.js';

/** An AMI is a raw disk under another name, and its kernel and ramdisk are files as they are. */
const formatOf = (diskFormat: string): DiskFormat => {
  const format = ['ami', 'aki', 'ari'].includes(diskFormat)
    ? 'raw'
    : DISK_FORMATS.find((known) => known === diskFormat);
  if (!format) throw new HypervisorError('unsupported', `nothing here reads a disk of format ${diskFormat}`);
  return format;
};

/** An image as drivers take it: kept in this machine's cache, or fetched by the hypervisor itself. */
export const imageSource = (
  images: ImageCache,
  image: ImageSnapshot,
  { imageUrl: url, imageFormat }: { readonly imageUrl: string; readonly imageFormat?: ImageFormat | undefined },
  isPrivate = false,
): ImageSource => {
  const path = async (signal: AbortSignal): Promise<string> => {
    try {
      return await images.path(image, url, signal, isPrivate);
    } catch (error) {
      if (signal.aborted) throw new HypervisorError('fault', 'the call was aborted', undefined, { cause: error });
      if (!(error instanceof DomainError) || error.kind !== 'unavailable') throw error;
      throw new HypervisorError('unavailable', error.message, undefined, { cause: error });
    }
  };
  return {
    format: formatOf(imageFormat ?? image.diskFormat),
    isPrivate,
    path,
    url,
    digest: async () => {
      const file = await path(new AbortController().signal);
      const hash = createHash('sha256');
      await pipeline(createReadStream(file), hash);
      return { sha256: hash.digest('hex'), size: (await stat(file)).size };
    },
  };
};
