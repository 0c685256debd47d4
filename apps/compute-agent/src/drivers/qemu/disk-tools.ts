import { spawn } from 'node:child_process';
import { chownSync, closeSync, constants, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { asHypervisorError } from '../common/native-command.js';
import type { DiskFormat } from '../hypervisor-driver.js';
import { BLOCK_DRIVERS, localNode } from './blocks.js';
import type { LocalDisk } from './definition.js';

const { O_RDONLY, O_RDWR } = constants;
const FIRST = 3;

/** What an image is written with, beside its format: exact sizes, and a VMDK as hypervisors import it. */
const OPTIONS: Partial<Record<DiskFormat, readonly string[]>> = {
  vhd: ['-o', 'force_size=on'],
  vmdk: ['-o', 'subformat=streamOptimized'],
};

/**
 * QEMU's tools on disks that a guest has used, and so may one that has broken out of its process: they run as that
 * guest's own user and can open nothing but the files they are given.
 */
export class DiskTools {
  /** @param owner null: the agent's own user */
  constructor(
    private readonly folder: string,
    private readonly owner: number | null,
  ) {}

  /** Marks a moment to which a disk can go back; its guest is off. */
  snapshot(disk: LocalDisk, name: string): Promise<string> {
    return this.onDisk(disk, (image) => ['snapshot', '-q', '-c', name, image]);
  }

  /** Back to that moment, size included. */
  revert(disk: LocalDisk, name: string): Promise<string> {
    return this.onDisk(disk, (image) => ['snapshot', '-q', '-a', name, image]);
  }

  forget(disk: LocalDisk, name: string): Promise<string> {
    return this.onDisk(disk, (image) => ['snapshot', '-q', '-d', name, image]);
  }

  async snapshots(disk: LocalDisk): Promise<string[]> {
    const info = await this.run([[disk.file, O_RDONLY]], ([image]) => ['info', '--output=json', '-f', 'qcow2', image!]);
    const { snapshots = [] } = JSON.parse(info) as { snapshots?: { name: string }[] };
    return snapshots.map(({ name }) => name);
  }

  grow(disk: LocalDisk, size: number): Promise<string> {
    return this.onDisk(disk, (image) => ['resize', '-q', image, `${size}`]);
  }

  /** Writes the disk as an image that refers to no other. */
  async convert(disk: LocalDisk, format: DiskFormat, to: string, signal: AbortSignal): Promise<void> {
    writeFileSync(join(this.folder, to), '', { mode: 0o600 });
    if (this.owner !== null) chownSync(join(this.folder, to), this.owner, this.owner);
    const files: [string, number][] = [
      [disk.file, O_RDONLY],
      [disk.base?.file ?? disk.file, O_RDONLY],
      [to, O_RDWR],
    ];
    await this.run(
      files,
      ([image, base, target]) => [
        ...['convert', '-O', BLOCK_DRIVERS[format], ...(OPTIONS[format] ?? [])],
        ...[chain(disk, image!, base!), target!],
      ],
      signal,
    );
  }

  private onDisk(disk: LocalDisk, args: (image: string) => string[]): Promise<string> {
    const files: [string, number][] = [
      [disk.file, O_RDWR],
      [disk.base?.file ?? disk.file, O_RDONLY],
    ];
    return this.run(files, ([image, base]) => args(chain(disk, image!, base!)));
  }

  private run(
    files: readonly (readonly [string, number])[],
    args: (paths: string[]) => string[],
    signal?: AbortSignal,
  ): Promise<string> {
    const open: number[] = [];
    return new Promise<string>((resolve, reject) => {
      for (const [file, flags] of files) open.push(openSync(join(this.folder, file), flags));
      const paths = open.map((_, i) => `/proc/self/fd/${FIRST + i}`);
      const child = spawn('qemu-img', args(paths), {
        cwd: '/',
        stdio: ['ignore', 'pipe', 'pipe', ...open],
        ...(this.owner === null ? {} : { uid: this.owner, gid: this.owner }),
        ...(signal ? { signal } : {}),
        env: { PATH: process.env.PATH, LC_ALL: 'C' },
      });
      const said = { out: '', error: '' };
      child.stdout!.on('data', (text: Buffer) => {
        said.out += text;
      });
      child.stderr!.on('data', (text: Buffer) => {
        said.error += text;
      });
      child.once('error', (error) => reject(asHypervisorError(error, 'qemu-img')));
      child.once('close', (code) =>
        code === 0
          ? resolve(said.out)
          : reject(asHypervisorError(new Error(`qemu-img ended with ${code}`), 'qemu-img', said.error)),
      );
    }).finally(() => {
      for (const file of open) closeSync(file);
    });
  }
}

const chain = (disk: LocalDisk, image: string, base: string): string => {
  const {
    'node-name': _name,
    discard: _discard,
    'read-only': _readOnly,
    ...node
  } = localNode(disk, (file) => (file === disk.file ? image : base));
  return `json:${JSON.stringify(node)}`;
};
