import type { GuestFacts } from '@omnivisor/contracts';
import { type BootFiles, findBootFiles } from './boot-files.js';
import { BoundedDisk, type Disk, Unreadable } from './disk.js';
import { builtInBy, driverOf, driversIn } from './drivers.js';
import type { FileTree } from './fs/volume.js';
import { readInitramfs } from './initramfs.js';
import { isSignedPe } from './kernel.js';
import { LOOK_BYTES } from './look-task.js';
import { readPartitions } from './partitions.js';
import { type FoundVolume, findVolumes } from './volumes.js';
import { hasBootManager, inspectWindows } from './windows/inspect-windows.js';

const LIMITS = { bytes: LOOK_BYTES, reads: 100_000 };
const LIST_LIMIT = 8 * 1024 * 1024;

const AGENTS: Readonly<Record<string, readonly string[]>> = {
  'qemu-guest-agent': ['/usr/sbin/qemu-ga', '/usr/bin/qemu-ga'],
  'open-vm-tools': ['/usr/bin/vmtoolsd'],
  'hyperv-daemons': ['/usr/sbin/hv_kvp_daemon', '/usr/sbin/hypervkvpd'],
  'xe-guest-utilities': ['/usr/sbin/xe-daemon', '/usr/bin/xe-daemon'],
  'cloud-init': ['/usr/bin/cloud-init'],
};

const EFI_LOADERS = ['/EFI/BOOT/BOOTX64.EFI', '/EFI/Microsoft/Boot/bootmgfw.efi'];

const EMPTY: GuestFacts = {
  ...{ partitions: 'none', firmware: [], fileSystems: [], distribution: null, kernel: null },
  ...{ bootDrivers: [], otherDrivers: [], agents: [], unknown: null },
};

/** A text of the guest, fit to be kept: short and plain. */
const plain = (text: string): string => text.replace(/[^\w .+~:-]/g, '').slice(0, 64);

const distributionOf = async (tree: FileTree): Promise<GuestFacts['distribution']> => {
  const text = (await tree.text('/etc/os-release')) ?? (await tree.text('/usr/lib/os-release'));
  if (text === undefined) return null;
  const field = (name: string) => new RegExp(`^${name}=["']?([^"'\\n]*)`, 'm').exec(text)?.[1];
  const id = plain(field('ID') ?? 'linux');
  const version = field('VERSION_ID');
  return { id, version: version === undefined ? null : plain(version) };
};

const agentsIn = async (tree: FileTree): Promise<string[]> => {
  const found: string[] = [];
  for (const [agent, paths] of Object.entries(AGENTS))
    for (const path of paths)
      if (await tree.exists(path)) {
        found.push(agent);
        break;
      }
  return found;
};

const efiLoaders = async (volumes: readonly FoundVolume[]): Promise<GuestFacts['firmware']> => {
  for (const { tree } of volumes.filter((v) => v.efi || v.kind === 'vfat')) {
    for (const path of EFI_LOADERS) {
      const head = await tree?.read(path, 4_096);
      if (head) return isSignedPe(head) ? ['uefi', 'secure-boot'] : ['uefi'];
    }
  }
  return [];
};

interface Drivers {
  readonly boot: Set<string>;
  readonly other: Set<string>;
  problem: string | null;
}

/** Drivers of the initial RAM disk, and those its list says are built into the kernel. @returns false when none was found */
const initramfsDrivers = async (boot: BootFiles, drivers: Drivers): Promise<boolean> => {
  const node = boot.initramfs === null ? undefined : await boot.tree.find(boot.initramfs);
  if (node?.kind !== 'file') return false;
  const found = new Set<string>();
  try {
    await readInitramfs(boot.tree.volume.bytes(node), {
      entry: (path) => {
        const driver = driverOf(path);
        if (driver !== undefined) found.add(driver);
        return /(^|\/)lib\/modules\/[^/]+\/modules\.builtin$/.test(path);
      },
      contents: (_, bytes) => {
        for (const driver of driversIn(bytes.toString('latin1'))) found.add(driver);
      },
    });
    for (const driver of found) drivers.boot.add(driver);
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error;
    // What was found before says nothing of what is missing.
    drivers.problem = error.message;
  }
  return true;
};

const releaseOf = async (boot: BootFiles, root: FileTree | undefined, told: string | null): Promise<string | null> => {
  const release = told ?? boot.release;
  if (release !== null || !root) return release;
  const releases = await root.names('/lib/modules');
  return releases.length === 1 ? releases[0]! : null;
};

const rootDrivers = async (
  boot: BootFiles,
  root: FileTree | undefined,
  release: string | null,
  drivers: Drivers,
): Promise<void> => {
  if (release === null) return;
  const config = await boot.tree.text(boot.kernel.replace(/[^/]+$/, `config-${release}`), LIST_LIMIT);
  for (const driver of config === undefined ? [] : builtInBy(config)) drivers.boot.add(driver);
  if (!root) return;
  const folder = `/lib/modules/${release}`;
  for (const driver of driversIn((await root.text(`${folder}/modules.builtin`, LIST_LIMIT)) ?? ''))
    drivers.boot.add(driver);
  for (const driver of driversIn((await root.text(`${folder}/modules.dep`, LIST_LIMIT)) ?? ''))
    drivers.other.add(driver);
};

const NO_KERNEL = 'it has no kernel that was found';
const NO_ROOT = 'its root file system was not found';

/** What a Linux may be in, which starts instead of a Windows beside it. */
const HAS_LINUX: ReadonlySet<string> = new Set(['luks', 'lvm', 'btrfs', 'ext2', 'ext3', 'ext4', 'xfs']);

const whyUnknown = (volumes: readonly FoundVolume[], otherwise: string): string => {
  const problem = volumes.find((v) => v.problem !== null)?.problem;
  if (problem) return problem;
  const kinds = volumes.map((v) => v.kind);
  if (kinds.includes('luks') || kinds.includes('bitlocker')) return 'its disk is encrypted';
  if (kinds.includes('lvm')) return 'its file systems are in LVM, which is not read';
  if (kinds.includes('btrfs')) return 'its file system is btrfs, which is not read';
  if (kinds.includes('ntfs') && !kinds.some((kind) => HAS_LINUX.has(kind))) return 'it is no Linux';
  return otherwise;
};

/** Where a Linux may be. */
const linuxTrees = (volumes: readonly FoundVolume[]): FileTree[] =>
  volumes.flatMap((v) => (v.tree && v.kind !== 'ntfs' ? [v.tree] : []));

const findRoot = async (trees: readonly FileTree[]): Promise<FileTree | undefined> => {
  for (const tree of trees)
    if ((await distributionOf(tree)) !== null || (await tree.names('/lib/modules')).length > 0) return tree;
  return undefined;
};

const windowsFacts = async (facts: GuestFacts, volumes: readonly FoundVolume[]): Promise<GuestFacts | undefined> => {
  if (volumes.some(({ kind }) => HAS_LINUX.has(kind))) return undefined;
  const trees = volumes.flatMap((v) => (v.tree ? [v.tree] : []));
  let found: Awaited<ReturnType<typeof inspectWindows>>;
  try {
    found = await inspectWindows(trees);
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error;
    return { ...facts, unknown: plain(error.message) };
  }
  if (!found) return undefined;
  // Its installer puts code in the first sector of any disk; by BIOS it starts from an MBR only.
  const byBios = facts.partitions === 'mbr' && facts.firmware.includes('bios') && (await hasBootManager(trees));
  return { ...facts, ...found, firmware: facts.firmware.filter((way) => way !== 'bios' || byBios) };
};

const lookInto = async (disk: Disk): Promise<GuestFacts> => {
  const table = await readPartitions(disk);
  const volumes = await findVolumes(disk, table);
  const trees = linuxTrees(volumes);
  const facts = {
    ...EMPTY,
    partitions: table.style,
    firmware: [...(table.bootSector ? (['bios'] as const) : []), ...(await efiLoaders(volumes))],
    fileSystems: volumes.map((v) => v.kind),
  };
  const root = await findRoot(trees);
  const distribution = root ? await distributionOf(root) : null;
  const agents = root ? await agentsIn(root) : [];
  const boot = await findBootFiles(trees);
  const told = boot?.facts;
  if (!boot || !told) {
    const windows = await windowsFacts(facts, volumes);
    return windows ?? { ...facts, distribution, agents, unknown: whyUnknown(volumes, NO_KERNEL) };
  }
  const drivers: Drivers = { boot: new Set(), other: new Set(), problem: null };
  const release = await releaseOf(boot, root, told.release);
  const hasRamDisk = await initramfsDrivers(boot, drivers);
  await rootDrivers(boot, root, release, drivers);
  // It may lie where it is not looked for, and what it has is not known then.
  if (!hasRamDisk && drivers.other.size > 0) drivers.problem = 'its initial RAM disk was not found';
  return {
    ...{ ...facts, distribution, agents },
    kernel: { release: plain(release ?? 'unknown'), boot: told.boot },
    bootDrivers: drivers.problem === null ? [...drivers.boot].sort() : [],
    otherDrivers: [...drivers.other].filter((d) => !drivers.boot.has(d)).sort(),
    unknown: drivers.problem ?? (root ? null : whyUnknown(volumes, NO_ROOT)),
  };
};

/** What a look at a disk finds. It reads, and nothing else; a disk that cannot be understood gives fewer facts. */
export const inspectGuest = async (disk: Disk): Promise<GuestFacts> => {
  try {
    return await lookInto(new BoundedDisk(disk, LIMITS));
  } catch (error) {
    if (error instanceof Unreadable || error instanceof RangeError) return { ...EMPTY, unknown: plain(error.message) };
    throw error;
  }
};

/** What has to be known to start the guest's kernel and to find its file systems then. */
export interface BootPlan {
  /** Path of the initial RAM disk as the running guest sees it. */
  readonly initramfsPath: string;
  readonly release: string;
  readonly root: { readonly kind: string; readonly partition: number };
  /** Where /boot is, when it is a file system of its own. */
  readonly bootPartition: { readonly kind: string; readonly partition: number } | null;
}

export interface BootPlanWithFiles extends BootPlan {
  readonly kernel: AsyncIterable<Buffer>;
  readonly initramfs: AsyncIterable<Buffer>;
}

const bootFilesOf = async (disk: Disk) => {
  const volumes = await findVolumes(disk, await readPartitions(disk));
  const trees = linuxTrees(volumes);
  const boot = await findBootFiles(trees);
  return { volumes, trees, boot };
};

/** @throws Unreadable for a file that is larger than what is read of a disk: holes in it cost its maker nothing */
const bytesAt = async (tree: FileTree, path: string | null): Promise<AsyncIterable<Buffer> | null> => {
  const node = path === null ? undefined : await tree.find(path);
  if (node?.kind !== 'file') return null;
  if (node.size > LOOK_BYTES) throw new Unreadable('its kernel or initial RAM disk is too large');
  return tree.volume.bytes(node);
};

/** @throws Unreadable when there is no root file system, kernel or initial RAM disk */
export const bootPlan = async (disk: Disk): Promise<BootPlanWithFiles> => {
  const { volumes, trees, boot } = await bootFilesOf(new BoundedDisk(disk, LIMITS));
  const root = await findRoot(trees);
  const kernel = boot && (await bytesAt(boot.tree, boot.kernel));
  const initramfs = boot && (await bytesAt(boot.tree, boot.initramfs));
  if (!root || !kernel || !initramfs || !boot.initramfs)
    throw new Unreadable(whyUnknown(volumes, root ? NO_KERNEL : NO_ROOT));
  // What has modules and no more is /usr, and the guest's tools need both.
  if (!(await root.exists('/etc'))) throw new Unreadable('its /usr is a file system of its own');
  const release = await releaseOf(boot, root, boot.facts?.release ?? null);
  if (release === null || !/^[\w.+~-]{1,64}$/.test(release))
    throw new Unreadable('its kernel does not say its release');
  // It goes into a script that the guest runs.
  if (!/^[\w.+~/-]{1,160}$/.test(boot.initramfs))
    throw new Unreadable('its initial RAM disk has a name of other signs');
  const place = (tree: FileTree) => {
    const { kind, number } = volumes.find((v) => v.tree === tree)!;
    return { kind, partition: number };
  };
  const apart = boot.tree !== root;
  return {
    ...{ kernel, initramfs, release, root: place(root), bootPartition: apart ? place(boot.tree) : null },
    initramfsPath: apart && !boot.initramfs.startsWith('/boot/') ? `/boot${boot.initramfs}` : boot.initramfs,
  };
};

/** The guest's kernel or initial RAM disk. @throws Unreadable when there is none */
export const guestFile = async (disk: Disk, what: 'aki' | 'ari'): Promise<AsyncIterable<Buffer>> => {
  const { volumes, boot } = await bootFilesOf(new BoundedDisk(disk, LIMITS));
  const bytes = boot && (await bytesAt(boot.tree, what === 'aki' ? boot.kernel : boot.initramfs));
  if (!bytes) throw new Unreadable(whyUnknown(volumes, NO_KERNEL));
  return bytes;
};
