import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { eventually } from '../e2e/running-cloud.js';
import { run } from '../services/process.mjs';
import { spawnOurs } from './children.js';

const MIB = 1024 * 1024;

/** @throws Error with what the command said */
export const system = async (command: string, ...args: string[]): Promise<string> => {
  const { code, stdout, stderr } = await run(command, args);
  if (code !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr.trim() || code}`);
  return stdout;
};

/**
 * A disk with a volatile cache: what is written to it is kept for good once it is flushed, as drives do it. nbdkit has the
 * cache (its filter `cache` in the mode `writeback`), nbdfuse makes a file of it, and that is mounted as ext4. Needs root,
 * and a mount namespace that takes everything away in the end.
 */
export class VolatileDisk {
  private server: ChildProcess | undefined;
  private file: ChildProcess | undefined;

  private constructor(
    private readonly folder: string,
    private readonly mountPoint: string,
  ) {}

  /** @param folder for its parts @param size MiB */
  static async mount(folder: string, mountPoint: string, size: number): Promise<VolatileDisk> {
    for (const path of [folder, mountPoint]) mkdirSync(path, { recursive: true });
    const disk = new VolatileDisk(folder, mountPoint);
    writeFileSync(disk.platter, '');
    truncateSync(disk.platter, size * MIB);
    await system('mkfs.ext4', '-q', '-F', disk.platter);
    await disk.powerOn();
    return disk;
  }

  async powerOn(): Promise<void> {
    const socket = join(this.folder, 'socket');
    const ready = join(this.folder, 'ready');
    const file = join(this.folder, 'file');
    for (const path of [socket, ready]) rmSync(path, { force: true });
    writeFileSync(file, '');
    const cached = ['--filter=cache', 'file', this.platter, 'cache=writeback'];
    const serve = ['--foreground', '--exit-with-parent', '--pidfile', ready, '-U', socket, ...cached];
    this.server = spawnOurs('nbdkit', serve, { stdio: 'ignore' });
    // It writes that file when it answers; nbdfuse asks once, and gives up.
    await eventually('nbdkit answers', async () => existsSync(ready), Boolean);
    this.file = spawnOurs('nbdfuse', [file, `nbd+unix:///?socket=${socket}`], { stdio: 'ignore' });
    await eventually(
      `${file} is a disk`,
      async () => statSync(file).size,
      (size) => size > 0,
    );
    await system('mount', '-o', 'loop', '-t', 'ext4', file, this.mountPoint);
  }

  /** What was written and not flushed is gone, and nothing can be written any more. */
  async losePower(): Promise<void> {
    const running = [this.server, this.file].filter((child) => child?.exitCode === null && child.signalCode === null);
    const ended = running.map((child) => once(child!, 'exit'));
    for (const child of running) child!.kill('SIGKILL');
    await Promise.all(ended);
  }

  /** In order, after it was unmounted. */
  async powerOff(): Promise<void> {
    await system('umount', join(this.folder, 'file'));
    await this.losePower();
  }

  /** After a loss of power, once nothing has a file open there. */
  async unmount(): Promise<void> {
    await system('umount', '--lazy', this.mountPoint);
    await system('umount', '--lazy', join(this.folder, 'file'));
  }

  private get platter(): string {
    return join(this.folder, 'platter');
  }
}

/** A file system of its own in a file that takes no room before it is used. @param size MiB */
export const mountFile = async (file: string, mountPoint: string, size: number): Promise<void> => {
  mkdirSync(mountPoint, { recursive: true });
  writeFileSync(file, '');
  truncateSync(file, size * MIB);
  await system('mkfs.ext4', '-q', '-F', file);
  await system('mount', '-o', 'loop', '-t', 'ext4', file, mountPoint);
};

/** Takes all the room that is left in a file system. @returns what gives it back */
export const fill = async (folder: string): Promise<() => void> => {
  const ballast = join(folder, 'ballast');
  const { bsize, bfree } = await statfs(folder);
  await run('fallocate', ['-l', String(bsize * bfree), ballast]);
  // What fallocate could not have in one piece.
  await run('dd', ['if=/dev/zero', `of=${ballast}-rest`, 'bs=64k'], {});
  return () => {
    for (const path of [ballast, `${ballast}-rest`]) rmSync(path, { force: true });
  };
};
