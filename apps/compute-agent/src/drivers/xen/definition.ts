import { hostBus, ServerId } from '@omnivisor/contracts';
import { z } from 'zod';
import type { GuestMark } from '../hypervisor-driver.js';

/** A file in the guest's own folder. */
export const FileName = z.string().regex(/^[a-z0-9][a-z0-9.-]*$/);

/** MiB, GiB. */
const Size = z.object({ vcpus: z.number().int(), memory: z.number().int(), disk: z.number().int() });
export type Size = z.output<typeof Size>;

/** `pv` runs on any Xen; `pvh` and `hvm` need a CPU with virtualisation, `hvm` QEMU in dom0 too. */
export const DOMAIN_TYPES = ['pv', 'pvh', 'hvm'] as const;
export type DomainType = (typeof DOMAIN_TYPES)[number];

/** What it boots from: a kernel beside its disk, or what is on its disk. */
export const Boot = z.object({
  root: FileName,
  kernel: FileName.nullable(),
  ramdisk: FileName.nullable(),
  commandLine: z.string(),
});
export type Boot = z.output<typeof Boot>;

/** What may pass a port, as `PortGuard`. */
const Guard = z.object({
  addresses: z.array(z.object({ mac: z.string(), ip: z.string() })),
  rules: z.array(hostBus.SecurityRule.omit({ remoteGroup: true })),
  /** Nothing passes. */
  cutOff: z.literal(true).optional(),
});

export const Nic = z.object({
  portId: z.string(),
  mac: z.string(),
  mtu: z.number().int(),
  bridge: z.string(),
  /** In which its connections are tracked: two networks may have the same addresses. */
  zone: z.number().int().min(1).max(65_535).default(1),
  /** Null: port security is off. */
  guard: Guard.nullable().default(null),
});
export type Nic = z.output<typeof Nic>;

/** A folder of disks where other hosts have them too: each making of a server, as its attempt says, has its own. */
export const SharedFolder = z.string().regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-[0-9]{1,15}$/);
export const sharedFolderOf = ({ serverId, attempt }: Pick<GuestMark, 'serverId' | 'attempt'>): string =>
  `${serverId}-${attempt}`;

/** A disk that was attached to it. */
export const AttachedDisk = z.object({
  diskId: z.string(),
  path: z.string(),
  /** `xvde` and on. */
  device: z.string(),
  readOnly: z.boolean(),
});
export type AttachedDisk = z.output<typeof AttachedDisk>;

/** A domain that somebody else made, which keeps its name and UUID. */
const Adopted = z.object({
  uuid: z.string(),
  name: z.string(),
  /** Where its own files are that its folder has under these names. */
  files: z.record(FileName, z.string()),
  /** Interfaces that are no ports, as xl reads them. */
  nics: z.array(z.string()),
});

/**
 * All that is known of a guest, in `guest.json` of its folder in dom0, from before anything of it can run. Domains of Xen
 * last as long as they run; this is what stays.
 */
export const Definition = z.object({
  cloudId: z.string(),
  serverId: ServerId,
  attempt: z.number().int(),
  build: z.number().int(),
  /** `incoming` and `moved` are marks of their own in its folder. */
  stage: z.enum(['building', 'settled', 'rescued', 'resized', 'incoming', 'moved']),
  type: z.enum(DOMAIN_TYPES),
  size: Size,
  boot: Boot,
  ephemeral: FileName.nullable(),
  swap: FileName.nullable(),
  config: FileName.nullable(),
  /** What it boots from instead while it is rescued; its own root is the second disk then. */
  rescue: z.object({ type: z.enum(DOMAIN_TYPES), boot: Boot, config: FileName.nullable() }).nullable(),
  /** What it was before a resize that is not settled. */
  before: z
    .object({
      size: Size,
      root: FileName,
      /** Absent where an older agent made the resize, which left them as they were. */
      second: z.object({ ephemeral: FileName.nullable(), swap: FileName.nullable() }).optional(),
      /** What it was given: sizes of second disks are the files' to tell. */
      flavor: z.string().optional(),
    })
    .nullable(),
  /** The build whose disks are in place, though it is not whole yet. */
  rebuilding: z.number().int().nullable(),
  nics: z.array(Nic),
  disks: z.array(AttachedDisk),
  adopted: Adopted.nullable().default(null),
  /** Where its disks lie, when other hosts have them too; `disks` of its folder leads there. It keeps it when it moves. */
  shared: SharedFolder.nullable().default(null),
});
export type Definition = z.output<typeof Definition>;

export const markOf = ({ cloudId, serverId, attempt, build }: Definition): GuestMark => ({
  cloudId,
  serverId,
  attempt,
  build,
});

/** What its domain is known by. */
export const domainOf = ({ serverId, adopted }: Definition): { readonly uuid: string; readonly name: string } =>
  adopted ?? { uuid: serverId, name: serverId };

/** Files that its disks and boot need; all others of its folder with such names are left over. */
export const filesOf = ({ boot, ephemeral, swap, config, rescue, before }: Definition): string[] =>
  [
    ...[boot, rescue?.boot].flatMap((from) => (from ? [from.root, from.kernel, from.ramdisk] : [])),
    ...[ephemeral, swap, config, rescue?.config ?? null],
    ...[before?.root ?? null, before?.second?.ephemeral ?? null, before?.second?.swap ?? null],
  ].filter((name) => name !== null);
