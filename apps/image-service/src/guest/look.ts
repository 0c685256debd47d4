import { read, write } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { type Disk, Unreadable } from './disk.js';
import { bootPlan, guestFile, inspectGuest } from './inspect-guest.js';
import type { LookAnswer, LookTask } from './look-task.js';
import { NbdDisk } from './nbd.js';

// The program that looks into a disk, apart from the service: `node look.js <LookTask>`. It may be killed at any time.

const START_DEADLINE = 10_000;

const plainDisk = (fd: number, size: number): Disk => ({
  size,
  read: async (offset, length) => {
    const { bytesRead, buffer } = await promisify(read)(fd, Buffer.alloc(length), 0, length, offset);
    if (bytesRead !== length) throw new Unreadable('it ends too early');
    return buffer;
  },
});

/** The socket is there some time after its process, and somebody listens some time after it. */
const connected = async (socket: string): Promise<NbdDisk> => {
  const deadline = Date.now() + START_DEADLINE;
  for (;;) {
    try {
      return await NbdDisk.connect(socket);
    } catch (error) {
      const early = ['ENOENT', 'ECONNREFUSED'].includes((error as NodeJS.ErrnoException).code ?? '');
      if (!early || Date.now() > deadline) throw error;
      await pause(5);
    }
  }
};

const copy = async (from: AsyncIterable<Buffer>, to: number): Promise<void> => {
  for await (const part of from)
    for (let done = 0; done < part.length; )
      done += (await promisify(write)(to, part, done, part.length - done, null)).bytesWritten;
};

const found = async (disk: Disk, { what, to }: LookTask): Promise<unknown> => {
  if (what === 'facts') return inspectGuest(disk);
  if (what !== 'plan') return copy(await guestFile(disk, what), to[0]!);
  const { kernel, initramfs, ...plan } = await bootPlan(disk);
  await copy(kernel, to[0]!);
  await copy(initramfs, to[1]!);
  return plan;
};

const look = async (task: LookTask): Promise<LookAnswer> => {
  const disk = 'socket' in task.disk ? await connected(task.disk.socket) : plainDisk(task.disk.fd, task.disk.size);
  try {
    return { found: (await found(disk, task)) ?? null };
  } catch (error) {
    if (error instanceof Unreadable) return { unreadable: error.message };
    throw error;
  } finally {
    if (disk instanceof NbdDisk) disk.close();
  }
};

process.stdout.write(JSON.stringify(await look(JSON.parse(process.argv[2]!))));
