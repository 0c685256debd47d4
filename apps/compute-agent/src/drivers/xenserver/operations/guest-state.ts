import { HardwareWishes, ServerId } from '@omnivisor/contracts';
import { z } from 'zod';
import type { GuestMark, GuestStage } from '../../hypervisor-driver.js';
import { Hardware } from './hardware.js';
import type { XapiMap } from './records.js';

/**
 * What the driver knows of a guest lies in the pool, in one entry of its VM's `other_config`: it is written as a whole, so
 * it changes at one moment, and it goes where the VM goes.
 */
export const STATE_KEY = 'omnivisor';
/** In a VIF's `other_config`: the port it stands for. */
export const PORT_KEY = 'omnivisor-port';
/** In a VBD's `other_config`: the attached disk it stands for. */
export const DISK_KEY = 'omnivisor-disk';

export const DISK_ROLES = ['root', 'ephemeral', 'swap', 'config'] as const;
export type DiskRole = (typeof DISK_ROLES)[number];

/** A local disk and its place in the VM. */
const LocalDisk = z.object({
  /** Adopted guests have disks of other names. */
  role: z.string(),
  vdi: z.string(),
  device: z.string(),
});
export type LocalDisk = z.infer<typeof LocalDisk>;

const FormerLock = z.object({
  locking_mode: z.string(),
  ipv4_allowed: z.array(z.string()).readonly(),
  ipv6_allowed: z.array(z.string()).readonly(),
});

const Attempt = z.number().int().positive();
const Size = z.object({ vcpus: z.number().int().positive(), memoryMib: z.number().int().positive() });

export const GuestState = z.object({
  cloudId: z.string(),
  serverId: ServerId,
  attempt: Attempt,
  build: z.number().int().nonnegative(),
  /** UUID of the member or of the pool whose agent drives it. */
  place: z.string(),
  /**
   * `shell`: it holds the place of a guest that is to come from another pool, or has gone to one. Then it never runs.
   */
  phase: z.enum(['building', 'settled', 'rescued', 'resized', 'shell']),
  /** It is whole and has to be started: what did it was cut off if it is off. */
  start: z.enum(['spawn', 'rebuild', 'rescue', 'unrescue']).nullable(),
  size: Size,
  /** As its wishes made it; null: as its VM is, which was adopted or is of an older release. */
  hardware: Hardware.nullable().default(null),
  /** Of its image and its flavor; null as that. */
  wishes: HardwareWishes.nullable().default(null),
  disks: z.array(LocalDisk),
  /** While rescued: what it boots from instead, and what it is then. */
  rescue: z.array(LocalDisk).nullable(),
  rescueHardware: Hardware.nullable().default(null),
  /** While resized: what it was before, and the flavor it was given. */
  before: z
    .object({
      size: Size,
      disks: z.array(LocalDisk),
      flavor: z.string(),
      hardware: Hardware.nullable().default(null),
      wishes: HardwareWishes.nullable().default(null),
    })
    .nullable(),
  /**
   * It is expected at another place, whose ticket has this number; the attempt that it is there, and its config drive, when
   * that cannot come along. `sent`: it has got there, although a VM that is off is nowhere.
   */
  invited: z
    .object({
      place: z.string(),
      nonce: z.string(),
      attempt: Attempt,
      config: LocalDisk.nullable(),
      sent: z.boolean().optional(),
    })
    .nullable(),
  /** It came from there, where it was this attempt, and there it is not forgotten yet. */
  movedFrom: z.object({ place: z.string(), attempt: Attempt }).nullable(),
  /** Adopted: who its interfaces let it be before, by MAC. */
  former: z.record(z.string(), FormerLock).default({}),
});
export type GuestState = z.infer<typeof GuestState>;

export const newState = (mark: GuestMark, place: string, size: GuestState['size']): GuestState => ({
  ...mark,
  place,
  phase: 'building',
  start: null,
  size,
  hardware: null,
  wishes: null,
  disks: [],
  rescue: null,
  rescueHardware: null,
  before: null,
  invited: null,
  movedFrom: null,
  former: {},
});

/** Null when the VM has no mark; a mark that cannot be read is nobody's to touch, so it is one of another cloud. */
export const readState = (config: XapiMap): GuestState | 'unreadable' | null => {
  const text = config[STATE_KEY];
  if (text === undefined) return null;
  try {
    return GuestState.parse(JSON.parse(text));
  } catch {
    return 'unreadable';
  }
};

export const markOf = ({ cloudId, serverId, attempt, build }: GuestState): GuestMark => ({
  cloudId,
  serverId,
  attempt,
  build,
});

/** Disks as the VM has them now: a rescued guest has its own root as second disk. */
export const attachedDisks = ({ disks, rescue }: GuestState): LocalDisk[] => {
  if (!rescue) return disks;
  const root = disks.find(({ role }) => role === 'root');
  return [...rescue, ...(root ? [{ ...root, device: '1' }] : [])];
};

/** Every disk that the guest, what it was before, or what is expected elsewhere, still needs. */
export const neededDisks = ({ disks, rescue, before, invited }: GuestState): Set<string> =>
  new Set(
    [...disks, ...(rescue ?? []), ...(before?.disks ?? []), ...(invited?.config ? [invited.config] : [])].map(
      ({ vdi }) => vdi,
    ),
  );

/** None where nobody knows. */
export const wishesIn = ({ wishes }: GuestState): HardwareWishes => wishes ?? { properties: {}, extraSpecs: {} };

export const stageOf = ({ phase }: GuestState): GuestStage =>
  phase === 'building' || phase === 'rescued' || phase === 'resized' ? phase : 'settled';

const DiskMark = z.object({
  cloudId: z.string(),
  serverId: ServerId,
  role: z.string(),
  /** UUID of the VM that it was made for: a server that moves cold has two in its pool. Absent in marks of older releases. */
  vm: z.string().optional(),
});
export type DiskMark = z.infer<typeof DiskMark>;

/** A disk is marked when it is made, so what a crash leaves behind is found again. */
export const diskMark = (mark: DiskMark): XapiMap => ({ [STATE_KEY]: JSON.stringify(mark) });

export const readDiskMark = (config: XapiMap): DiskMark | null => {
  try {
    return DiskMark.parse(JSON.parse(config[STATE_KEY] ?? ''));
  } catch {
    return null;
  }
};
