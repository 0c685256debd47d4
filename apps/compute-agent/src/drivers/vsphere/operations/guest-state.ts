import { HardwareWishes, ServerId } from '@omnivisor/contracts';
import { z } from 'zod';
import type { GuestMark } from '../../hypervisor-driver.js';
import { Config } from './hardware.js';

/**
 * What the driver knows of a guest lies in the vCenter, in one entry of its VM's extra configuration. One reconfiguration
 * changes it together with the devices, at one moment, and it goes where the VM goes. Guests cannot read or write it: only
 * entries that begin with `guestinfo.` are theirs.
 */
export const STATE_KEY = 'omnivisor';
/**
 * MAC addresses of cards that we disconnected; what others disconnected is theirs to connect. In an entry of its own, which
 * agents of older releases leave as it is.
 */
export const CUT_OFF_KEY = 'omnivisor-cut-off';
/** The same for VMs that hold the disk of an image, or of an export, and never run. */
export const HOLDER_KEY = 'omnivisor-disk';
/** And for the throw-away guest of a probe. */
export const PROBE_KEY = 'omnivisor-probe';

/** A local disk at its place on the controller. Adopted guests have disks of other names. */
const LocalDisk = z.object({ role: z.string(), unit: z.number().int().nonnegative() });
export type LocalDisk = z.infer<typeof LocalDisk>;

/** Where its file is, and how large it is, KiB; 0 when only the file knows. */
const StoredDisk = LocalDisk.extend({ path: z.string(), kib: z.number().int().nonnegative() });
export type StoredDisk = z.infer<typeof StoredDisk>;

const Attempt = z.number().int().positive();
const Size = z.object({ vcpus: z.number().int().positive(), memoryMib: z.number().int().positive() });
const StoredDisks = z.array(StoredDisk);
/** Null: it was adopted, or made by an older release, and nobody knows. */
const Wishes = HardwareWishes.nullable().default(null);
/** Fields of its VM that a change has changed, as they were. */
const Was = Config.default({});

export const GuestState = z.object({
  cloudId: z.string(),
  serverId: ServerId,
  attempt: Attempt,
  build: z.number().int().nonnegative(),
  /** Whose agent drives it: see `Place`. */
  place: z.string(),
  phase: z.enum(['building', 'settled', 'rescued', 'resized']),
  /** It is whole and has to be started: what did it was cut off if it is off. */
  start: z.enum(['spawn', 'rebuild', 'rescue', 'unrescue']).nullable(),
  size: Size,
  /** What its image and flavor say of its hardware; while rescued, the rescue image first. */
  wishes: Wishes,
  /** Its VM gets this before it starts: secure boot had to go first. */
  firmware: z.literal('bios').nullable().default(null),
  /** As its devices are. Their files are the devices' to tell: storage may have moved. */
  disks: z.array(LocalDisk),
  /** File of its config drive. */
  config: z.string().nullable(),
  nics: z.array(z.object({ portId: z.string(), mac: z.string() })),
  /** Disks that outlive it. */
  volumes: z.array(z.object({ diskId: z.string(), unit: z.number().int().nonnegative() })),
  /**
   * While rescued: its own disks, at the units that they have otherwise. Of the root, the device knows the file. Types of its
   * network cards, where the rescue image asks for one.
   */
  own: z
    .object({
      ...{ disks: StoredDisks, config: z.string().nullable(), wishes: Wishes, was: Was },
      cards: z
        .array(z.object({ mac: z.string(), type: z.string() }))
        .nullable()
        .default(null),
    })
    .nullable(),
  /** While resized: what it was before, and the flavor it was given. */
  before: z.object({ size: Size, disks: StoredDisks, flavor: z.string(), wishes: Wishes, was: Was }).nullable(),
  /** Files that may be there and that nothing needs. */
  scratch: z.array(z.string()),
  /**
   * It is expected at another place, whose ticket has this number; the attempt that it is there. Of another cluster only
   * its own agents know the members, so it names them; absent from agents of older releases.
   */
  invited: z
    .object({ place: z.string(), nonce: z.string(), attempt: Attempt, hosts: z.array(z.string()).optional() })
    .nullable(),
  /** It came from there, where it was this attempt, and there it is not forgotten yet. */
  movedFrom: z.object({ place: z.string(), attempt: Attempt }).nullable(),
});
export type GuestState = z.infer<typeof GuestState>;

export const newState = (mark: GuestMark, place: string, size: GuestState['size']): GuestState => ({
  ...mark,
  ...{ place, size, phase: 'building', start: null, wishes: null, firmware: null },
  ...{ disks: [], config: null, nics: [], volumes: [] },
  ...{ own: null, before: null, scratch: [], invited: null, movedFrom: null },
});

/** A mark that cannot be read is nobody's to touch, so it is one of another cloud. */
export const readState = (text: string): GuestState | 'unreadable' => {
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
