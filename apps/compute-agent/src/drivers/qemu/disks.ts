import { chownSync, constants, truncateSync, writeFileSync } from 'node:fs';
import { copyFile, link, mkdir, open, stat, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { writeConfigDrive } from '../common/config-drive.js';
import { run } from '../common/native-command.js';
import { type GuestSpec, HypervisorError, type ImageSource } from '../hypervisor-driver.js';
import { FIRMWARE } from './command-line.js';
import type { GuestDefinition, Hardware, LocalDisk } from './definition.js';
import { rescueBus } from './devices.js';
import { directBootOf } from './direct-boot.js';
import { DISK_FILES, FILES } from './files.js';
import { isQ35, RESCUE_SLOT } from './slots.js';

const GIB = 1024 ** 3;
const MIB = 1024 ** 2;
const SECTOR = 512;

/** What an overlay can lie over, or a CD be. All others the image service converts, in its sandbox: QEMU may follow what is in them. */
export const IMAGE_FORMATS = ['qcow2', 'raw', 'iso'] as const;
type TakenFormat = (typeof IMAGE_FORMATS)[number];

/** Bytes that are promised to the guest, apart from what the image itself takes. */
export const promisedBytes = ({ disks }: Pick<GuestSpec, 'disks'>): number =>
  (disks.root.size + (disks.ephemeral?.size ?? 0)) * GIB + disks.swap * MIB;

/** A source on this machine, and how long its disk is. */
interface Fetched {
  readonly path: string;
  readonly format: TakenFormat;
  readonly virtualSize: number;
}

export interface Sources {
  readonly root: Fetched;
  readonly ephemeral: Fetched | null;
  readonly kernel: string | null;
  readonly ramdisk: string | null;
}

export const fetchSources = async ({ disks, directBoot }: GuestSpec, signal: AbortSignal): Promise<Sources> => ({
  root: await fetched(disks.root.source, signal),
  ephemeral: disks.ephemeral?.source ? await fetched(disks.ephemeral.source, signal) : null,
  kernel: directBoot ? await directBoot.kernel.path(signal) : null,
  ramdisk: directBoot?.ramdisk ? await directBoot.ramdisk.path(signal) : null,
});

const fetched = async (source: ImageSource, signal: AbortSignal): Promise<Fetched> => {
  const format = IMAGE_FORMATS.find((taken) => taken === source.format);
  if (!format) throw new HypervisorError('unsupported', `this host takes no disks of format ${source.format}`);
  const path = await source.path(signal);
  return { path, format, virtualSize: format === 'qcow2' ? await qcow2Size(path) : (await stat(path)).size };
};

/** Of the disk, as the header says: no tool looks at the bytes here. */
const qcow2Size = async (path: string): Promise<number> => {
  const file = await open(path, 'r');
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(32), 0, 32, 0);
    if (bytesRead === 32 && buffer.toString('latin1', 0, 4) === 'QFI\xfb') return Number(buffer.readBigUInt64BE(24));
  } finally {
    await file.close();
  }
  throw new HypervisorError('fault', 'the image is no qcow2');
};

/** A disk's length is a whole number of sectors; a raw image's need not be. */
const lengthOf = (what: string, source: Fetched, promisedGib: number): number => {
  const promised = promisedGib * GIB;
  if (promised > 0 && source.virtualSize > promised)
    throw new HypervisorError(
      'fault',
      `the ${what} needs ${Math.ceil(source.virtualSize / GIB)} GiB, its disk has ${promisedGib} GiB`,
    );
  return Math.max(promised, Math.ceil(source.virtualSize / SECTOR) * SECTOR);
};

const serial = (kind: string, { mark }: Pick<GuestSpec, 'mark'>) =>
  `${kind}-${mark.serverId.slice(0, 13)}`.slice(0, 20);

/** Whether these are the disks of a guest like this. The root of one that has none of its own size is as long as its image. */
export const areDisksOf = (
  spec: GuestSpec,
  disks: readonly Pick<LocalDisk, 'name' | 'size' | 'serial'>[],
  isIso: boolean,
): boolean => {
  const { root, ephemeral, swap } = spec.disks;
  const size = (name: LocalDisk['name']) => disks.find((disk) => disk.name === name)?.size ?? 0;
  const wanted = [
    ...(isIso && root.size === 0 ? [] : [['root', 'root', root.size > 0 ? root.size * GIB : size('root')] as const]),
    ...(ephemeral ? [['ephemeral', 'eph', ephemeral.size * GIB] as const] : []),
    ...(swap > 0 ? [['swap', 'swap', swap * MIB] as const] : []),
  ];
  return (
    disks.length === wanted.length &&
    wanted.every(([name, kind, length]) =>
      disks.some((disk) => disk.name === name && disk.size === length && disk.serial === serial(kind, spec)),
    )
  );
};

const own = (file: string) => `${FILES.disks}/${file}`;

/** A disk that begins without contents of an image, before any of its files is there. @param size bytes */
export const blankDisk = (
  name: 'ephemeral' | 'swap',
  size: number,
  spec: Pick<GuestSpec, 'mark'>,
): Omit<LocalDisk, 'slot'> =>
  name === 'swap'
    ? { name, file: own(DISK_FILES.swap), format: 'raw', base: null, size, serial: serial('swap', spec) }
    : {
        ...{ name, file: own(DISK_FILES.ephemeral), format: 'qcow2' },
        base: { file: own(DISK_FILES.ephemeralBase), format: 'raw' },
        ...{ size, serial: serial('eph', spec) },
      };

const baseOf = (folder: string, file: string, source: Fetched | null): LocalDisk['base'] =>
  source && source.format !== 'iso' ? { file: `${folder}/${file}`, format: source.format } : null;

type Drives = Pick<GuestDefinition, 'disks' | 'cdroms'>;

/** The drives of a guest, before any of their files is there. */
export const planDrives = (spec: GuestSpec, sources: Sources): Drives => {
  const { root, ephemeral, swap } = spec.disks;
  const disks: LocalDisk[] = [];
  const add = (disk: Omit<LocalDisk, 'slot'>) => disks.push({ ...disk, slot: RESCUE_SLOT + 1 + disks.length });
  const isIso = sources.root.format === 'iso';
  if (!isIso || root.size > 0)
    add({
      name: 'root',
      file: own(DISK_FILES.root),
      format: 'qcow2',
      base: isIso ? null : baseOf(FILES.disks, DISK_FILES.base, sources.root),
      size: isIso ? root.size * GIB : lengthOf('image', sources.root, root.size),
      serial: serial('root', spec),
    });
  if (ephemeral && !sources.ephemeral) add(blankDisk('ephemeral', ephemeral.size * GIB, spec));
  else if (ephemeral && sources.ephemeral)
    add({
      ...blankDisk('ephemeral', lengthOf('ephemeral disk', sources.ephemeral, ephemeral.size), spec),
      base: baseOf(FILES.disks, DISK_FILES.ephemeralBase, sources.ephemeral),
    });
  if (swap > 0) add(blankDisk('swap', swap * MIB, spec));
  return { disks, cdroms: romsOf(FILES.disks, spec, isIso) };
};

const romsOf = (folder: string, spec: GuestSpec, isIso: boolean): GuestDefinition['cdroms'] => [
  ...(isIso ? [{ file: `${folder}/${DISK_FILES.base}`, boot: true }] : []),
  ...(spec.configDrive ? [{ file: `${folder}/${DISK_FILES.configDrive}`, boot: false }] : []),
];

/** What a guest is rescued with. @throws HypervisorError `unsupported` for an ISO, which has no disk */
export const planRescue = (
  spec: GuestSpec,
  { root }: Sources,
  guest: Pick<GuestDefinition, 'machine'>,
): Omit<NonNullable<GuestDefinition['rescue']>, 'own'> => {
  if (root.format === 'iso') throw new HypervisorError('unsupported', 'a guest is not rescued from an ISO image here');
  return {
    disk: {
      name: 'rescue',
      file: `${FILES.rescue}/${DISK_FILES.root}`,
      format: 'qcow2',
      base: baseOf(FILES.rescue, DISK_FILES.base, root),
      size: lengthOf('image', root, 0),
      serial: serial('resc', spec),
      slot: RESCUE_SLOT,
    },
    cdroms: romsOf(FILES.rescue, spec, false),
    bus: rescueBus(spec.image, isQ35(guest)),
    directBoot: directBootOf(spec),
  };
};

export interface Making {
  /** Folder to make the files in; what a plan calls `disks/…` or `rescue/…` lies here. */
  readonly folder: string;
  /** User whose process will hold the files; null: the agent's own. */
  readonly owner: number | null;
  readonly signal: AbortSignal;
}

/** Makes all files that a guest's drives need. */
export const makeDrives = async (
  spec: GuestSpec,
  sources: Sources,
  { disks }: Pick<Drives, 'disks'>,
  firmware: Hardware['firmware'],
  making: Making,
): Promise<void> => {
  const { folder } = making;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const size = (name: LocalDisk['name']) => disks.find((disk) => disk.name === name)?.size;
  const [root, ephemeral, swap] = [size('root') ?? size('rescue'), size('ephemeral'), size('swap')];
  await makeOverlay(making, sources.root, DISK_FILES.base, DISK_FILES.root, root);
  if (ephemeral !== undefined && sources.ephemeral)
    await makeOverlay(making, sources.ephemeral, DISK_FILES.ephemeralBase, DISK_FILES.ephemeral, ephemeral);
  else if (ephemeral !== undefined) await makeEphemeral(making, ephemeral);
  if (swap !== undefined) await makeSwap(making, swap);
  await makeOthers(spec, sources, firmware, making);
};

/** Disks as long as they were elsewhere, for their contents to come; what is read only is made as on a spawn. */
export const makeEmptyDrives = async (
  spec: GuestSpec,
  sources: Sources | null,
  guest: Pick<GuestDefinition, 'disks' | 'firmware' | 'cdroms'>,
  making: Making,
): Promise<void> => {
  const { folder } = making;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  for (const { file, format, size } of guest.disks) {
    await command(making, 'qemu-img', 'create', '-q', '-f', format, basename(file), `${size}`);
    giveTo(making, basename(file));
  }
  if (sources && guest.cdroms.some(({ boot }) => boot)) await keep(sources.root.path, join(folder, DISK_FILES.base));
  await makeOthers(spec, sources, guest.firmware, making);
};

/** Config drive, kernel and the variables of the firmware. */
const makeOthers = async (
  { configDrive }: GuestSpec,
  sources: Pick<Sources, 'kernel' | 'ramdisk'> | null,
  firmware: Hardware['firmware'],
  { folder }: Making,
): Promise<void> => {
  if (configDrive)
    await writeFile(join(folder, DISK_FILES.configDrive), writeConfigDrive(configDrive), { mode: 0o600 });
  if (sources?.kernel) await keep(sources.kernel, join(folder, DISK_FILES.kernel));
  if (sources?.ramdisk) await keep(sources.ramdisk, join(folder, DISK_FILES.ramdisk));
  if (firmware !== 'bios') await copyVariables(folder, firmware);
};

const command = ({ folder, signal }: Making, name: string, ...args: string[]) =>
  run(name, args, { cwd: folder, signal });

/** Keeps a source's bytes as long as the guest needs them, whatever becomes of the image cache. */
const keep = async (path: string, kept: string) => {
  try {
    await link(path, kept);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'EXDEV' && code !== 'EPERM' && code !== 'EMLINK') throw error;
    await copyFile(path, kept, constants.COPYFILE_FICLONE);
  }
};

/** @param size bytes; undefined: no disk, only the source is kept. `source` null: the base is there already */
const makeOverlay = async (making: Making, source: Fetched | null, base: string, file: string, size?: number) => {
  const format = source?.format ?? 'raw';
  if (source) await keep(source.path, join(making.folder, base));
  if (size === undefined) return;
  // With its size said, and unsafe as that is called, the base is not opened.
  const over = format === 'iso' ? [] : ['-u', '-b', base, '-F', format];
  await command(making, 'qemu-img', 'create', '-q', '-f', 'qcow2', ...over, file, `${size}`);
  giveTo(making, file);
};

export const makeEphemeral = async (making: Making, size: number): Promise<void> => {
  sparse(join(making.folder, DISK_FILES.ephemeralBase), size);
  const options = ['-q', '-F', '-L', 'ephemeral0', '-E', 'lazy_itable_init=1'];
  await command(making, 'mkfs.ext4', ...options, DISK_FILES.ephemeralBase);
  giveTo(making, DISK_FILES.ephemeralBase);
  await makeOverlay(making, null, DISK_FILES.ephemeralBase, DISK_FILES.ephemeral, size);
};

export const makeSwap = async (making: Making, size: number, file: string = DISK_FILES.swap): Promise<void> => {
  sparse(join(making.folder, file), size);
  await command(making, 'mkswap', '-q', file);
  giveTo(making, file);
};

const sparse = (path: string, size: number) => {
  writeFileSync(path, '', { mode: 0o600 });
  truncateSync(path, size);
};

const giveTo = ({ folder, owner }: Making, file: string) => {
  if (owner !== null) chownSync(join(folder, file), owner, owner);
};

const copyVariables = async (folder: string, firmware: Exclude<Hardware['firmware'], 'bios'>) => {
  const { variables } = FIRMWARE[firmware];
  await copyFile(variables, join(folder, DISK_FILES.firmwareVariables)).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
    throw new HypervisorError('unsupported', 'this host has no UEFI firmware', variables, { cause: error });
  });
};
