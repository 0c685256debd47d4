import { HardwareWishes, ServerId } from '@omnivisor/contracts';
import { z } from 'zod';
import { DISK_FORMATS, type GuestSpec, HypervisorError } from '../hypervisor-driver.js';
import { GuestCpu } from './guest-cpu.js';

/** Cloud ids go into file contents, argument lists and QMP names, so their letters are few. */
export const CloudId = z.string().regex(/^[A-Za-z0-9_.-]{1,64}$/);

/** Place of a device among those that may come and go: it stays over restarts, suspends and moves to other hosts. */
const slot = z.number().int().nonnegative().max(31);

const Nic = z.object({
  portId: z.string().regex(/^[A-Za-z0-9-]{1,64}$/),
  mac: z.string().regex(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i),
  mtu: z.number().int().positive(),
  model: z.string(),
  tap: z.string().regex(/^[A-Za-z0-9_.-]{1,15}$/),
  netns: z
    .string()
    .regex(/^(?!\.{1,2}$)[A-Za-z0-9_.-]{1,255}$/)
    .nullable(),
  slot,
});
export type Nic = z.infer<typeof Nic>;

export const DiskBus = z.enum(['virtio', 'scsi', 'ide', 'sata']);
export type DiskBus = z.infer<typeof DiskBus>;

/** A disk of the guest's own, in its folder. */
export const LocalDisk = z.object({
  name: z.enum(['root', 'ephemeral', 'swap', 'rescue']),
  /** Relative to the guest's folder. */
  file: z.string(),
  format: z.enum(['raw', 'qcow2']),
  /** The file under it, if it is an overlay; it has none under it itself. */
  base: z.object({ file: z.string(), format: z.enum(['raw', 'qcow2']) }).nullable(),
  /** Bytes, as the guest sees it. */
  size: z.number().int().positive(),
  serial: z.string(),
  slot,
});
export type LocalDisk = z.infer<typeof LocalDisk>;

/** A disk that outlives the guest. */
const AttachedDisk = z.object({
  diskId: z.string().regex(/^[A-Za-z0-9-]{1,64}$/),
  connection: z.discriminatedUnion('kind', [
    z.object({ kind: z.enum(['file', 'block']), path: z.string().startsWith('/') }),
    z.object({ kind: z.literal('nbd'), socket: z.string().startsWith('/'), exportName: z.string() }),
  ]),
  format: z.enum(DISK_FORMATS),
  readOnly: z.boolean(),
  bus: DiskBus,
  serial: z.string().regex(/^[A-Za-z0-9_. +-]{0,36}$/),
  bootIndex: z.number().int().positive().nullable(),
  slot,
});
export type AttachedDisk = z.infer<typeof AttachedDisk>;

/** Read-only drive: an image that is an ISO, the config drive. */
const Cdrom = z.object({ file: z.string(), boot: z.boolean() });

const Topology = z.object({ sockets: z.number(), cores: z.number(), threads: z.number() });

const Cpus = z.array(z.number().int().nonnegative()).nullable().optional();

/** What a resize changes, and its revert brings back. */
export const Size = z.object({
  vcpus: z.number().int().positive().max(255),
  memoryMib: z.number().int().positive(),
  topology: Topology,
  hugePages: z.number().int().positive().nullable(),
  limits: z.record(z.string(), z.number()),
});
export type Size = z.infer<typeof Size>;

/** Hardware as it was decided when the guest was spawned: it starts the same after every stop. */
export const Hardware = z.object({
  /** A versioned machine type: the guest sees the same hardware after QEMU is upgraded. */
  machine: z.string(),
  firmware: z.enum(['bios', 'uefi', 'secureBoot']),
  diskBus: DiskBus,
  scsiController: z.string(),
  cdromBus: z.enum(['ide', 'scsi', 'sata']),
  nicModel: z.string(),
  video: z.string().nullable(),
  tablet: z.boolean(),
  watchdog: z.enum(['reset', 'poweroff', 'pause', 'none']).nullable(),
  tpm: z.enum(['tpm-tis', 'tpm-crb']).nullable(),
  /** A channel to the guest agent that its image promises. */
  hasAgent: z.boolean(),
  /** It gets what Windows expects of a clock and of a hypervisor. */
  windows: z.boolean().optional(),
});
export type Hardware = z.infer<typeof Hardware>;

/** Of it, what a flavor may decide too: a resize changes it, and its revert brings it back. */
export const FlavorDevices = Hardware.pick({ watchdog: true, tpm: true });
export type FlavorDevices = z.infer<typeof FlavorDevices>;

/** Of it, what a guest takes from its rescue image for as long as it is rescued. */
export const RescueDevices = Hardware.pick({
  nicModel: true,
  video: true,
  tablet: true,
  cdromBus: true,
  watchdog: true,
  hasAgent: true,
}).extend({ windows: z.boolean().default(false) });
export type RescueDevices = z.infer<typeof RescueDevices>;

/** A kernel beside the disk that it starts; null where firmware starts the disk. */
const DirectBoot = z.object({ ramdisk: z.boolean(), commandLine: z.string() });

/** What a guest is made of. */
export const GuestDefinition = Hardware.extend(Size.shape).extend({
  mark: z.object({
    cloudId: CloudId,
    serverId: ServerId,
    attempt: z.number().int().positive(),
    build: z.number().int().nonnegative(),
  }),
  name: z.string(),
  /**
   * - `building`: an agent was or is in the middle of its spawn
   * - `incoming`: it waits for its memory from another host
   * - `moved`: its memory went to another host
   */
  phase: z.enum(['building', 'spawned', 'incoming', 'moved']),
  /** A change that was begun and not ended: what is asked for next ends it or takes it back. */
  change: z.enum(['rebuild', 'rescue', 'unrescue', 'resize', 'revert']).nullable(),
  suspended: z.boolean(),
  /** Of a suspended guest: what its memory was saved under. */
  savedUnder: GuestCpu.nullable().optional(),
  /** The first one is the root disk. */
  disks: z.array(LocalDisk),
  attached: z.array(AttachedDisk),
  cdroms: z.array(Cdrom),
  nics: z.array(Nic),
  directBoot: DirectBoot.nullable(),
  rescue: z
    .object({
      disk: LocalDisk,
      cdroms: z.array(Cdrom),
      /** That of the disk; null: as the guest's own. */
      bus: DiskBus.nullable().default(null),
      directBoot: DirectBoot.nullable().default(null),
      /** What the guest has when it is not rescued; null: the same, as an older agent has rescued it. */
      own: RescueDevices.nullable().default(null),
    })
    .nullable(),
  /** Processors of the machine that are its alone, one for each vCPU; null or absent: it shares what others share. */
  cpus: Cpus,
  before: z
    .object({
      size: Size,
      disks: z.array(LocalDisk),
      cpus: Cpus,
      /** Absent where an older agent made the resize, which left them as they are. */
      devices: FlavorDevices.optional(),
      /** What the flavor asked for; absent where an older agent made the resize. */
      extraSpecs: z.record(z.string(), z.string()).optional(),
    })
    .nullable(),
  /** The disks lie on storage that other hosts have too; of a guest that has moved: where it has them still. */
  shared: z.boolean(),
  /** Somebody else made it: how it is started, and the ports that its interfaces stand for. */
  adopted: z
    .object({
      nativeId: z.string(),
      command: z.array(z.string()).nonempty(),
      folder: z.string(),
      user: z.number().int().nonnegative(),
      name: z.string(),
      ports: z.array(z.object({ portId: z.string(), mac: z.string() })),
    })
    .nullable(),
  /** What image and flavor asked for, for the next resize. */
  wishes: HardwareWishes,
});
export type GuestDefinition = z.infer<typeof GuestDefinition>;

/** Name of the guest inside QEMU; with the folder it runs in, it tells whose process that is. */
export const guestName = ({ mark, adopted }: Pick<GuestDefinition, 'mark' | 'adopted'>): string =>
  adopted?.name ?? `${mark.cloudId}/${mark.serverId}/${mark.attempt}`;

/** @throws HypervisorError `fault` when something in it cannot be */
export const checked = (guest: GuestDefinition): GuestDefinition => {
  const parsed = GuestDefinition.safeParse(guest);
  if (parsed.success) return parsed.data;
  throw new HypervisorError('fault', 'the guest cannot be defined', parsed.error.message);
};

export const markOf = ({ mark }: GuestSpec): GuestDefinition['mark'] => ({ ...mark });
