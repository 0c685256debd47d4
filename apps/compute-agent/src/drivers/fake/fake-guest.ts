import type { Instant, PowerState } from '@omnivisor/contracts';
import type {
  ForeignGuest,
  GuestDisk,
  GuestMark,
  GuestNic,
  GuestStage,
  HostInventory,
  NicAttachment,
  PortGuard,
} from '../hypervisor-driver.js';

/** What a test has written to a disk or to memory: a letter is enough to tell whether it is still there. */
export type Letter = string;

export interface FakeNic {
  readonly portId: string;
  readonly mac: string;
  /** Where it ends and what may pass it; guests of older releases do not say. */
  readonly attachment?: NicAttachment;
  readonly guard?: PortGuard | null;
  /** False once it is cut off. */
  readonly passes?: boolean;
}

/** Disks that live and die with the guest. */
export interface FakeDisks {
  readonly root: Letter;
  readonly rootGib: number;
  readonly ephemeralGib: number;
  readonly swapMib: number;
}

/** A guest as the fake machine holds it, with what it takes of the machine's inventory. */
export interface FakeGuest extends HostInventory {
  readonly mark: GuestMark;
  readonly name: string;
  readonly stage: GuestStage;
  readonly power: PowerState;
  /** When its power came on; null while it is off. */
  readonly startedAt: Instant | null;
  readonly nics: readonly FakeNic[];
  readonly disks: FakeDisks;
  readonly attached: readonly GuestDisk[];
  /** Names of the files on its config drive. */
  readonly configDrive: readonly string[];
  /** What it remembers while it has power, or is suspended. */
  readonly memory: Letter;
  readonly writes: number;
  /** The image says that an agent is inside. */
  readonly hasAgent: boolean;
  /** The disk of the image it is rescued with. */
  readonly rescue: Letter | null;
  /** What it was before a resize that is not settled. */
  readonly before: (HostInventory & { readonly disks: FakeDisks }) | null;
  /** Key of the live migration that it waits for. */
  readonly expects: string | null;
  /** Somebody else made it. */
  readonly adopted: ForeignGuest | null;
  /** The newest text of its first serial port. */
  readonly console: string;
}

export const NOTHING: Letter = '-';

/** What every fake guest prints when its power comes on. */
export const bootText = ({ name, mark }: Pick<FakeGuest, 'name' | 'mark'>): string =>
  `fake guest ${name}: power on\nfake guest ${name}: instance-id=${mark.serverId} up\n`;

export const isOff = ({ power }: Pick<FakeGuest, 'power'>): boolean => power === 'shutdown' || power === 'crashed';

export const nicsFrom = (nics: readonly GuestNic[]): FakeNic[] =>
  nics.map(({ portId, mac, attachment, guard }) => ({ portId, mac, attachment, guard, passes: true }));
