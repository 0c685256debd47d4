import { once } from 'node:events';
import { chown, type FileHandle, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { type Bytes, type ImageFormat, ms, unavailable } from '@omnivisor/contracts';
import { isPlain } from '../forms/compositions.js';
import { type Stretch, sourceName, TOOL_MEMORY } from '../forms/qemu-img.js';
import { killGroup, type Sandbox } from '../sandbox/sandbox.js';
import { type Disk, Unreadable } from './disk.js';
import { NbdDisk } from './nbd.js';

const VHD_FOOTER = 512;
const START_DEADLINE = 10_000;
/** The whole look at an image, whatever is in it. */
export const LOOK_DEADLINE = ms(120_000);
const LIMITS = { memory: TOOL_MEMORY, cpu: 60, file: 0 as Bytes, wall: LOOK_DEADLINE };

export interface StoredImage {
  readonly handle: FileHandle;
  readonly form: ImageFormat;
  readonly size: number;
  readonly stretch?: Stretch;
}

const plainDisk = ({ handle, form, size }: StoredImage): Disk => ({
  size: form === 'vhd-fixed' ? size - VHD_FOOTER : size,
  read: async (offset, length) => {
    const buffer = Buffer.alloc(length);
    const { bytesRead } = await handle.read(buffer, 0, length, offset);
    if (bytesRead !== length) throw new Unreadable('it ends too early');
    return buffer;
  },
});

/**
 * Gives `look` the disk in an image as its guest sees it. What is not plain bytes is read by qemu-nbd in the sandbox,
 * which shares nothing with us but a socket.
 */
export const withDisk = async <T>(
  sandbox: Sandbox,
  image: StoredImage,
  look: (disk: Disk) => Promise<T>,
): Promise<T> => {
  if (isPlain(image.form)) return look(plainDisk(image));
  const folder = await mkdtemp(join(tmpdir(), 'image-disk-'));
  const { user } = sandbox.isolation;
  if (user !== null) await chown(folder, user, user);
  const socket = join(folder, 'nbd');
  const name = sourceName(image.form, image.size, 0, image.stretch);
  const child = await sandbox.start('qemu-nbd', ['--read-only', `--socket=${socket}`, name], {
    files: [{ handle: image.handle, write: false }],
    limits: LIMITS,
    folder,
  });
  let words = '';
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    words = (words + text).slice(-2_000);
  });
  const closed = once(child, 'close');
  try {
    const disk = await connected(socket, child, () => words);
    try {
      return await look(disk);
    } finally {
      disk.close();
    }
  } catch (error) {
    if (error instanceof Unreadable || child.exitCode === null) throw error;
    throw new Error(`qemu-nbd ended with ${child.signalCode ?? child.exitCode}: ${words}`, { cause: error });
  } finally {
    killGroup(child);
    await closed;
    await rm(folder, { recursive: true, force: true });
  }
};

/** It is there some time after its process, and listens some time after its socket. */
const connected = async (
  socket: string,
  child: { exitCode: number | null; signalCode: string | null },
  words: () => string,
): Promise<NbdDisk> => {
  const deadline = Date.now() + START_DEADLINE;
  for (;;) {
    try {
      return await NbdDisk.connect(socket);
    } catch (error) {
      if (child.exitCode !== null || child.signalCode !== null)
        throw new Unreadable('its format is damaged', { cause: words() });
      const early = ['ENOENT', 'ECONNREFUSED'].includes((error as NodeJS.ErrnoException).code ?? '');
      if (!early || Date.now() > deadline) throw unavailable('qemu-nbd does not start', { error, words: words() });
      await pause(5);
    }
  }
};
