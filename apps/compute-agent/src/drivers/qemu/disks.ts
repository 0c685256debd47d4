import { constants, copyFile, link, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type GuestSpec, HypervisorError } from '../hypervisor-driver.js';
import { FILES, FIRMWARE } from './command-line.js';
import { writeConfigDrive } from './config-drive.js';
import type { Disk, GuestDefinition } from './definition.js';
import { run } from './native-command.js';

const GIB = 1024 ** 3;

/** Glance's disk formats and the driver of QEMU that reads each. */
const DRIVERS: Readonly<Record<string, string>> = {
  raw: 'raw',
  ami: 'raw',
  iso: 'raw',
  qcow2: 'qcow2',
  vhd: 'vpc',
  vhdx: 'vhdx',
  vmdk: 'vmdk',
  vdi: 'vdi',
};

export const imageDriver = (format: string): string => {
  const driver = DRIVERS[format];
  if (!driver) throw new HypervisorError('unsupported', `this host cannot boot an image of disk format ${format}`);
  return driver;
};

/** Bytes that the flavor promises, apart from what the image itself takes. */
export const promisedBytes = ({ flavor }: GuestSpec): number =>
  (flavor.disk + flavor.ephemeral) * GIB + flavor.swap * 1024 ** 2;

export const disksFor = (spec: GuestSpec): Pick<GuestDefinition, 'disks' | 'cdroms'> => {
  const { serverId } = spec.mark;
  const serial = (kind: string) => `${kind}-${serverId.slice(0, 13)}`.slice(0, 20);
  const isIso = spec.image.diskFormat === 'iso';
  const disks: Disk[] = [];
  if (!isIso || spec.flavor.disk > 0) disks.push({ file: FILES.root, format: 'qcow2', serial: serial('root') });
  if (spec.flavor.ephemeral > 0) disks.push({ file: FILES.ephemeral, format: 'raw', serial: serial('eph') });
  if (spec.flavor.swap > 0) disks.push({ file: FILES.swap, format: 'raw', serial: serial('swap') });
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
  const driver = imageDriver(spec.image.diskFormat);
  const command = (name: string, ...args: string[]) => run(name, args, { cwd: dir, signal });
  await keepImage(spec.imagePath, join(dir, FILES.base));
  if (spec.image.diskFormat === 'iso') {
    if (spec.flavor.disk > 0)
      await command('qemu-img', 'create', '-q', '-f', 'qcow2', FILES.root, `${spec.flavor.disk}G`);
  } else await makeRoot(spec, driver, command);

  if (spec.flavor.ephemeral > 0) {
    await sparse(join(dir, FILES.ephemeral), spec.flavor.ephemeral * GIB);
    await command('mkfs.ext4', '-q', '-F', '-L', 'ephemeral0', '-E', 'lazy_itable_init=1', FILES.ephemeral);
  }
  if (spec.flavor.swap > 0) {
    await sparse(join(dir, FILES.swap), spec.flavor.swap * 1024 ** 2);
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

const makeRoot = async (spec: GuestSpec, driver: string, command: Command) => {
  const info = await command('qemu-img', 'info', '--output=json', '-f', driver, FILES.base);
  const { 'virtual-size': needed } = JSON.parse(info) as { 'virtual-size': number };
  const promised = spec.flavor.disk * GIB;
  if (promised > 0 && needed > promised)
    throw new HypervisorError(
      'fault',
      `the image needs ${Math.ceil(needed / GIB)} GiB, the flavor's root disk has ${spec.flavor.disk} GiB`,
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
