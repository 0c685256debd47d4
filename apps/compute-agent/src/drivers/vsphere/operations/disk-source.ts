import { open, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { GiB, MiB, ServerId } from '@omnivisor/contracts';
import { run } from '../../common/native-command.js';
import { type GuestMark, HypervisorError, type ImageSource } from '../../hypervisor-driver.js';

const KIB = 2 ** 10;
const MIB = 2 ** 20;
const GIB = 2 ** 30;
const SECTOR = 512;
/** Of a sparse extent's header: grains are compressed, and each says where it belongs. */
const STREAM_FLAGS = 3 << 16;

/** What a disk is made from. */
export interface DiskSource {
  /** Says all of its contents. */
  readonly key: string;
  /** Of the server that alone may have it; null: it is kept for all. */
  readonly server: ServerId | null;
  /**
   * The disk as a stream-optimized VMDK, the only kind that a lease takes.
   * @param folder for files that are removed afterwards
   */
  stream(folder: string, signal: AbortSignal): Promise<{ readonly file: string; readonly kib: number }>;
}

/** Compressed by a tool of this machine. */
const streamOf = async (raw: string, folder: string, signal: AbortSignal): Promise<string> => {
  const file = join(folder, 'stream.vmdk');
  const options = 'subformat=streamOptimized,adapter_type=lsilogic';
  await run('qemu-img', ['convert', '-f', 'raw', '-O', 'vmdk', '-o', options, raw, file], { signal });
  return file;
};

/**
 * What a guest sees of a stream-optimized VMDK, KiB.
 * @throws HypervisorError `fault` for any other: the image service makes streams of them, in its sandbox
 */
const streamKib = async (path: string): Promise<number> => {
  const header = Buffer.alloc(SECTOR);
  const file = await open(path, 'r');
  try {
    await file.read(header, 0, SECTOR, 0);
  } finally {
    await file.close();
  }
  if (header.toString('latin1', 0, 4) !== 'KDMV' || (header.readUInt32LE(8) & STREAM_FLAGS) !== STREAM_FLAGS)
    throw new HypervisorError('fault', 'the image is no stream-optimized VMDK');
  return Math.ceil((Number(header.readBigUInt64LE(12)) * SECTOR) / KIB);
};

/**
 * @param mark of the guest that it is for
 * @throws HypervisorError `unavailable` when its bytes cannot be had, `unsupported` for other formats
 */
export const sourceOf = async (image: ImageSource, { serverId, attempt }: GuestMark): Promise<DiskSource> => {
  const { format, isPrivate } = image;
  if (format !== 'vmdk' && format !== 'raw')
    throw new HypervisorError('unsupported', `this host takes no disks of format ${format}`);
  const { sha256 } = await image.digest();
  return {
    key: isPrivate ? `${format} ${sha256} of ${serverId}, ${attempt}` : `${format} ${sha256}`,
    server: isPrivate ? serverId : null,
    stream: async (folder, signal) => {
      const path = await image.path(signal);
      if (format === 'vmdk') return { file: path, kib: await streamKib(path) };
      const { size } = await stat(path);
      return { file: await streamOf(path, folder, signal), kib: Math.max(1, Math.ceil(size / KIB)) };
    },
  };
};

/** A disk that a tool of this machine formats. All of one size are alike, so they are held as images are. */
const formatted = (key: string, size: number, command: string, args: readonly string[]): DiskSource => ({
  ...{ key, server: null },
  stream: async (folder, signal) => {
    const raw = join(folder, 'raw');
    await writeFile(raw, '', { mode: 0o600 });
    await truncate(raw, size);
    await run(command, [...args, raw], { signal });
    return { file: await streamOf(raw, folder, signal), kib: size / KIB };
  },
});

export const ephemeralOf = (gib: GiB): DiskSource => {
  const args = ['-q', '-F', '-L', 'ephemeral0', '-E', 'lazy_itable_init=1'];
  return formatted(`ephemeral ${gib} GiB`, gib * GIB, 'mkfs.ext4', args);
};
export const swapOf = (mib: MiB): DiskSource => formatted(`swap ${mib} MiB`, mib * MIB, 'mkswap', ['-q']);
