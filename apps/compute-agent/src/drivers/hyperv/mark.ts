import { type GiB, HardwareWishes, type MiB, ServerId } from '@omnivisor/contracts';
import { z } from 'zod';
import type { GuestMark } from '../hypervisor-driver.js';
import { Former } from './former.js';

/** What a guest was made to be: vCPUs, MiB of memory, GiB of root disk. */
const Size = z.object({ vcpus: z.number(), memory: z.number(), disk: z.number() });
export type Size = z.output<typeof Size>;

const Wishes = HardwareWishes.nullable().default(null);

const Slot = z.object({ type: z.enum(['IDE', 'SCSI']), number: z.number(), location: z.number() });

/**
 * What a machine's notes say of it. Notes are part of the machine: they go with it when a cluster or a live migration
 * moves it, and are there before it can run. Paths are the host's.
 */
export const Mark = z.object({
  cloudId: z.string(),
  serverId: ServerId,
  attempt: z.number().int(),
  build: z.number().int(),
  stage: z.enum(['building', 'settled', 'rescued', 'resized']),
  size: Size,
  /** Its own root disk, and where it boots from: the same, unless it is rescued. */
  root: z.string(),
  rescue: z.string().nullable(),
  ephemeral: z.string().nullable(),
  configDrive: z.string().nullable(),
  /** Where an adopted guest has its root; null: where ours have it. */
  slot: Slot.nullable(),
  /** Files of the images that its disks stand on. */
  images: z.array(z.string()),
  /** Port id to MAC address, 12 hexadecimal digits. */
  ports: z.record(z.string(), z.string()),
  /** Attached disks that outlive it, disk id to path. */
  disks: z.record(z.string(), z.string()),
  /** A guest of somebody else that was adopted: its disks are not ours to remove. */
  adopted: z.boolean(),
  /** What an adopted guest was before; null for one of ours, or that an older release has adopted. */
  former: Former.nullable().default(null),
  /** What image and flavor said of its hardware; null where an older release, or somebody else, has made it. */
  wishes: Wishes,
  /** The same with the image that it is rescued with. */
  rescueWishes: Wishes,
  /** What is in its DVD drive while it is rescued; null: what was there, or an older release has put in. */
  rescueConfigDrive: z.string().nullable().default(null),
  /** What of somebody else that took the place of; null for nothing. */
  ejected: z.string().nullable().default(null),
  /** What it was before a resize that is not settled. */
  before: z.object({ size: Size, root: z.string(), wishes: Wishes }).nullable(),
  /** The build whose disks are in place, though it is not whole yet. */
  rebuilding: z.number().int().nullable(),
});
export type Mark = z.output<typeof Mark>;

const PREFIX = 'omnivisor ';

/** What operators wrote beside the mark stays. */
export const writeMark = (mark: Mark, notes: string | null): string => {
  const others = withoutMark(notes ?? '');
  return `${PREFIX}${JSON.stringify(mark)}${others === '' ? '' : `\n${others}`}`;
};

/** @returns null when there is none that can be read */
export const readMark = (notes: string | null): Mark | null => {
  const line = (notes ?? '').split(/\r?\n/).find((text) => text.startsWith(PREFIX));
  if (!line) return null;
  try {
    return Mark.parse(JSON.parse(line.slice(PREFIX.length)));
  } catch {
    return null;
  }
};

export const withoutMark = (notes: string): string =>
  notes
    .split(/\r?\n/)
    .filter((text) => !text.startsWith(PREFIX))
    .join('\n');

export const guestMark = ({ cloudId, serverId, attempt, build }: Mark): GuestMark => ({
  cloudId,
  serverId,
  attempt,
  build,
});

export const sizeOf = (flavor: { vcpus: number; memory: MiB }, disk: GiB): Size => ({
  vcpus: flavor.vcpus,
  memory: flavor.memory,
  disk,
});
