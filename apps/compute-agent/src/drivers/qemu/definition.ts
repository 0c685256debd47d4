import { ServerId } from '@omnivisor/contracts';
import { z } from 'zod';

/** Cloud ids go into file contents, argument lists and QMP names, so their letters are few. */
export const CloudId = z.string().regex(/^[A-Za-z0-9_.-]{1,64}$/);

const Nic = z.object({
  portId: z.string(),
  mac: z.string().regex(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i),
  mtu: z.number().int().positive(),
  tap: z.string().regex(/^[A-Za-z0-9_.-]{1,15}$/),
  netns: z
    .string()
    .regex(/^(?!\.{1,2}$)[A-Za-z0-9_.-]{1,255}$/)
    .nullable(),
  model: z.string().nullable(),
});

const Disk = z.object({
  file: z.string(),
  format: z.enum(['raw', 'qcow2']),
  serial: z.string(),
});
export type Disk = z.infer<typeof Disk>;

/** What a guest is made of, as it was decided when it was spawned: it starts the same after every stop. */
export const GuestDefinition = z.object({
  mark: z.object({
    cloudId: CloudId,
    serverId: ServerId,
    attempt: z.number().int().positive(),
    build: z.number().int().nonnegative().default(0),
  }),
  /** `building` until the guest is whole: what an agent left behind in the middle of a spawn. */
  phase: z.enum(['building', 'spawned']),
  vcpus: z.number().int().positive().max(255),
  memoryMib: z.number().int().positive(),
  /** A versioned machine type: the guest sees the same hardware after QEMU is upgraded. */
  machine: z.string(),
  firmware: z.enum(['bios', 'uefi', 'secureBoot']),
  diskBus: z.enum(['virtio', 'scsi', 'ide', 'sata']),
  nicModel: z.string(),
  video: z.string().nullable(),
  /** The first one is the root disk. */
  disks: z.array(Disk),
  /** Read-only drives, files in the guest's folder: an image that is an ISO, the config drive. */
  cdroms: z.array(z.object({ file: z.string(), boot: z.boolean() })),
  nics: z.array(Nic),
});
export type GuestDefinition = z.infer<typeof GuestDefinition>;

/** Name of the guest inside QEMU; with the folder it runs in, it tells whose process that is. */
export const guestName = ({ mark }: GuestDefinition): string => `${mark.cloudId}/${mark.serverId}/${mark.attempt}`;
