import type { Backend, Feature, GiB, ServerId } from '@omnivisor/contracts';
import type {
  DiskFormat,
  GuestDisk,
  GuestNic,
  GuestSpec,
  HypervisorDriver,
  ImageSource,
} from '../hypervisor-driver.js';
import type { Basic, Proof } from './proof.js';

/** How real the thing was that the suite ran over: see docs/support-matrix.md. */
export type Level = 'L0' | 'L1' | 'L2' | 'L3';

/** A change of a guest that a crash may cut off. */
export type Change =
  | 'spawn'
  | 'powerOff'
  | 'powerOn'
  | 'reboot'
  | 'pause'
  | 'unpause'
  | 'suspend'
  | 'resume'
  | 'rebuild'
  | 'rescue'
  | 'unrescue'
  | 'resize'
  | 'confirmResize'
  | 'revertResize'
  | 'attachDisk'
  | 'detachDisk'
  | 'attachNic'
  | 'detachNic'
  | 'destroy';

/** What is plugged by such a change. */
export interface Devices {
  readonly disk?: GuestDisk;
  readonly nic?: GuestNic;
}

/** What the suite does inside a test guest. A letter is one of A to Z. */
export interface Inside {
  /** Resolves when the guest of a start that was not waited for yet hears what follows. */
  up(id: ServerId): Promise<void>;
  switchOff(id: ServerId): Promise<void>;
  readonly ignorePowerButton?: (id: ServerId) => Promise<void>;
  /** Memory that is lost when the power goes. */
  readonly memory?: {
    write(id: ServerId, letter: string): Promise<void>;
    read(id: ServerId): Promise<string>;
  };
  /** Disks in the order in which firmware or kernel count them; `read` gives what is no letter for an empty disk. */
  readonly disk?: {
    write(id: ServerId, disk: number, letter: string): Promise<void>;
    read(id: ServerId, disk: number): Promise<string>;
  };
}

/** A guest with Linux in it; commands run in a root shell there. */
export interface LinuxGuest {
  /** With at least one network interface, a config drive whose `hostname` is `conformance`, and a guest agent. */
  spec(id: ServerId): Promise<GuestSpec>;
  /** Resolves when its shell can be used after a start. */
  up(id: ServerId): Promise<void>;
  /** What the command wrote. */
  run(id: ServerId, command: string): Promise<string>;
}

/**
 * A backend under test, and what the suite has to do behind the driver's back. Where a hook is missing the behaviours that
 * need it are skipped, and the results say so.
 */
export interface DriverUnderTest {
  readonly backend: Backend;
  /** What was run, and what of it was more or less real than the rest. */
  readonly level: Level;
  readonly levels?: Partial<Record<Feature | Basic, Level>>;
  /** Sentences for the support matrix: what was proven beside this suite, and what was not. */
  readonly remarks?: readonly string[];
  /** Command that runs this suite; `npm test` unless told. */
  readonly command?: string;
  /** This host lacks what others have (rights, packages), so that hooks are missing that the committed results had. */
  readonly incomplete?: boolean;
  /** False: what this run shows is looked at and not compared with committed results. */
  readonly recorded?: boolean;
  /** Told of each behaviour when it is tried, and when it has passed. */
  readonly told?: (proof: Proof, behaviour: string, what: 'tried' | 'passed') => void;
  /** Optional members that have to be there; the others have to be absent. */
  readonly supports: readonly Feature[];

  /** The driver under test; the suite closes it. */
  open(): Promise<HypervisorDriver>;
  /** A second driver over the same host, as a restarted agent makes it. */
  reopen(): Promise<HypervisorDriver>;
  /** A driver of another cloud over the same host. */
  readonly openOtherCloud?: () => Promise<HypervisorDriver>;

  /** A small guest of this server that the host can carry. */
  guest(id: ServerId): Promise<GuestSpec>;
  /** One that nobody talks to, where that starts sooner: it writes `firstConsoleText` and hears nothing. */
  readonly quietGuest?: (id: ServerId) => Promise<GuestSpec>;
  /** The same, but with more memory than the host has. */
  tooBig(id: ServerId): Promise<GuestSpec>;
  /** Makes the next spawn of this guest fail halfway. */
  failing(id: ServerId): Promise<GuestSpec>;
  /** The bytes of an image that needs so much disk. */
  readonly imageOf?: (size: GiB) => Promise<ImageSource>;
  /** A file of the suite as an image that the host can have; a file of the agent's machine unless told. */
  readonly sourceOf?: (file: string, format: DiskFormat) => ImageSource;
  /** What of the server is on the host, natively: files, processes, objects. Empty when nothing is. */
  leftovers(id: ServerId): Promise<string[]>;

  readonly inside?: Inside;
  readonly linux?: LinuxGuest;
  /** Something the guest writes to its serial port when it starts. */
  readonly firstConsoleText?: RegExp;
  /** Names of the files on the guest's config drive, read from what the driver made. */
  readonly configDriveFiles?: (id: ServerId) => Promise<string[]>;

  /** Makes a guest without our mark; tells whether it is still as it was. */
  readonly foreignGuest?: () => Promise<{ untouched(): Promise<boolean>; remove(): Promise<void> }>;
  /** Puts something that is not ours where the driver would put this server; tells whether it is still as it was. */
  readonly inTheWay?: (id: ServerId) => Promise<{ untouched(): Promise<boolean>; remove(): Promise<void> }>;
  /** The backend stops answering for this guest until the result is called. */
  readonly makeUnreachable?: (id: ServerId) => Promise<() => Promise<void>>;
  /** The whole hypervisor stops answering, so that `check` has to see it. */
  readonly stopHypervisor?: () => Promise<() => Promise<void>>;
  /**
   * Does the change in a process of its own, which is killed after that time, or is cut off from the host at that moment.
   * @param moment milliseconds, or one of `crashMoments`
   * @returns true when the end came before the change was done
   */
  readonly crashDuring?: (change: Change, id: ServerId, moment: number, devices: Devices) => Promise<boolean>;
  /** Calls of the host that have begun when the end comes, counted up to more than a change makes; instead of times. */
  readonly crashMoments?: readonly number[];
  /** True: of those of a change only these are tried, and each once. */
  readonly crashesAreSampled?: boolean;

  /** An empty disk of `diskUnit` that outlives guests, and how to see that it is there. */
  readonly disk?: () => Promise<{ disk: GuestDisk; exists(): Promise<boolean>; remove(): Promise<void> }>;
  /** Bytes of the smallest disk that the backend makes; 1 MiB unless told. */
  readonly diskUnit?: number;
  /** False: the guest sees no serial number of a disk that was attached. */
  readonly diskSerials?: boolean;
  /** False: the backend has no disks that cannot be written, and refuses them. */
  readonly readOnlyDisks?: boolean;
  /** False: statistics are too coarse to show one write. */
  readonly countsRequests?: boolean;
  /** False: the test guest never lets go of a device that is unplugged while it runs. */
  readonly guestUnplugs?: boolean;
  /** One more network interface for this guest. */
  readonly nic?: (id: ServerId) => Promise<GuestNic>;
  /** Whether the hypervisor lets anything pass a port of a guest. */
  readonly passes?: (id: ServerId, portId: string) => Promise<boolean>;
  /** The letter that `inside.disk.write` has put on a disk's first free place, read from a file of that format. */
  readonly letterOf?: (file: string, format: DiskFormat) => Promise<string>;
  /** Another host of the same backend, and the spec of a guest of this one as it is plugged there. */
  readonly otherHost?: {
    open(): Promise<HypervisorDriver>;
    spec(spec: GuestSpec): GuestSpec;
    leftovers(id: ServerId): Promise<string[]>;
    /** Two drivers whose hosts have the disks of guests on the same storage. */
    readonly shared?: () => Promise<{ here: HypervisorDriver; there: HypervisorDriver }>;
    /** False: a guest that has come stands still until it is accepted. */
    readonly runsBeforeAccepted?: boolean;
    /** False: a host takes what is sent with an older ticket too. */
    readonly voidsTickets?: boolean;
  };
  /** Whether a guest that `adoption` found may be one of `foreignGuest`. */
  readonly adoptable?: () => Promise<{
    nativeId: string;
    nics: readonly GuestNic[];
    /** Whether the hypervisor keeps the guest to what `nics` say may pass; where that is the driver's to see to. */
    guarded?(): Promise<boolean>;
    untouched(): Promise<boolean>;
    remove(): Promise<void>;
  }>;

  /** Makes the guest tell its hostname by integration services, and gives the name. */
  readonly tellsHostname?: (id: ServerId) => Promise<string>;

  /** How long a guest of the test may take for anything; 10 s unless told. */
  readonly patience?: number;
}
