import type { FileHandle } from 'node:fs/promises';
import { isZero, padded, readTarHeader, TAR_BLOCK } from '../formats/tar.js';
import type { Stretch } from './qemu-img.js';

/** Where the one disk of an OVA lies in it; null when it holds several. The archive was inspected when it came. */
export const ovaDisk = async (file: FileHandle): Promise<Stretch | null> => {
  const block = Buffer.alloc(TAR_BLOCK);
  const disks: Stretch[] = [];
  for (let at = 0; ; ) {
    const { bytesRead } = await file.read(block, 0, TAR_BLOCK, at);
    if (bytesRead < TAR_BLOCK || isZero(block)) break;
    const entry = readTarHeader(block, at);
    if (typeof entry === 'string') return null;
    if (/\.vmdk$/i.test(entry.name)) disks.push({ offset: entry.offset, size: entry.size });
    at = entry.offset + padded(entry.size);
  }
  return disks.length === 1 ? disks[0]! : null;
};
