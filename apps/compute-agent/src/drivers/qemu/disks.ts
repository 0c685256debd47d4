import { constants, copyFile, link, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeConfigDrive } from '../common/config-drive.js';
import { run } from '../common/native-command.js';
import { type DiskFormat, type GuestSpec, HypervisorError } from '../hypervisor-driver.js';
import { FILES, FIRMWARE } from './command-line.js';
import type { Disk, GuestDefinition } from './definition.js';

const GIB = 1024 ** 3;

/** The driver of QEMU that reads each disk format. */
const DRIVERS: Readonly<Record<DiskFormat, string>> = {
  qcow2: 'qcow2',
  raw: 'raw',
  vmdk: 'vmdk',
  vhdx: 'vhdx',
  vhd: 'vpc',
  vdi: 'vdi',
  iso: 'raw',
};

/** Those that an overlay can lie over come first, the others are converted. */
export const IMAGE_FORMATS = Object.keys(DRIVERS) as DiskFormat[];

/** Bytes that are promised to the guest, apart from what the image itself takes. */
export const promisedBytes = ({ disks }: GuestSpec): number =>
  (disks.root.size + (disks.ephemeral?.size ?? 0)) * GIB + disks.swap * 1024 ** 2;

export const disksFor = (spec: GuestSpec): Pick<GuestDefinition, 'disks' | 'cdroms'> => {
  const { serverId } = spec.mark;
  const serial = (kind: string) => `${kind}-${serverId.slice(0, 13)}`.slice(0, 20);
  const { root, ephemeral, swap } = spec.disks;
  const isIso = root.source.format === 'iso';
  const disks: Disk[] = [];
  if (!isIso || root.size > 0) disks.push({ file: FILES.root, format: 'qcow2', serial: serial('root') });
  if (ephemeral) disks.push({ file: FILES.ephemeral, format: 'raw', serial: serial('eph') });
  if (swap > 0) disks.push({ file: FILES.swap, format: 'raw', serial: serial('swap') });
  return {
    disks,
    cdroms: [
      ...(isIso ? [{ file: FILES.base, boot: true }] : []),
      ...(spec.configDrive ? [{ file: FILES.configDrive, boot: false }] : []),
    ],
  };
};

/** Makes all files that the guest's drives need, in its folder. */
export const makeDisks = async (dir: string, spec: GuestSpec, guest: GuestDefinition, signal: AbortSignal) => {
  const { root, ephemeral, swap } = spec.disks;
  const command = (name: string, ...args: string[]) => run(name, args, { cwd: dir, signal });
  await keepImage(await root.source.path(signal), join(dir, FILES.base));
  if (root.source.format === 'iso') {
    if (root.size > 0) await command('qemu-img', 'create', '-q', '-f', 'qcow2', FILES.root, `${root.size}G`);
  } else await makeRoot(root, command);

  if (ephemeral) {
    if (ephemeral.source) throw new HypervisorError('unsupported', 'an ephemeral disk cannot be taken over yet');
    await sparse(join(dir, FILES.ephemeral), ephemeral.size * GIB);
    await command('mkfs.ext4', '-q', '-F', '-L', 'ephemeral0', '-E', 'lazy_itable_init=1', FILES.ephemeral);
  }
  if (swap > 0) {
    await sparse(join(dir, FILES.swap), swap * 1024 ** 2);
    await command('mkswap', '-q', FILES.swap);
  }
  if (spec.configDrive)
    await writeFile(join(dir, FILES.configDrive), writeConfigDrive(spec.configDrive), { mode: 0o600 });
  if (guest.firmware !== 'bios') {
    const { variables } = FIRMWARE[guest.firmware];
    await copyFile(variables, join(dir, FILES.firmwareVariables)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
      throw new HypervisorError('unsupported', 'this host has no UEFI firmware', variables, { cause: error });
    });
  }
};

/** Keeps the image's bytes as long as the guest needs them, whatever becomes of the image cache. */
const keepImage = async (imagePath: string, kept: string) => {
  try {
    await link(imagePath, kept);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'EXDEV' && code !== 'EPERM' && code !== 'EMLINK') throw error;
    await copyFile(imagePath, kept, constants.COPYFILE_FICLONE);
  }
};

type Command = (name: string, ...args: string[]) => Promise<string>;

const makeRoot = async ({ source, size: promisedGib }: GuestSpec['disks']['root'], command: Command) => {
  const driver = DRIVERS[source.format];
  const info = await command('qemu-img', 'info', '--output=json', '-f', driver, FILES.base);
  const { 'virtual-size': needed } = JSON.parse(info) as { 'virtual-size': number };
  const promised = promisedGib * GIB;
  if (promised > 0 && needed > promised)
    throw new HypervisorError(
      'fault',
      `the image needs ${Math.ceil(needed / GIB)} GiB, the root disk has ${promisedGib} GiB`,
    );
  // A disk is a whole number of sectors; a raw image need not be.
  const size = String(Math.max(promised, Math.ceil(needed / 512) * 512));
  if (driver === 'raw' || driver === 'qcow2')
    return command('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', FILES.base, '-F', driver, FILES.root, size);
  await command('qemu-img', 'convert', '-f', driver, '-O', 'qcow2', FILES.base, FILES.root);
  return command('qemu-img', 'resize', '-q', '-f', 'qcow2', FILES.root, size);
};

const sparse = async (path: string, size: number) => {
  await writeFile(path, '', { mode: 0o600 });
  await truncate(path, size);
};
