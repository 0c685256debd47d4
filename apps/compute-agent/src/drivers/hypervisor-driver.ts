import type {
  Backend,
  FlavorSnapshot,
  HostHealth,
  ImageSnapshot,
  MiB,
  Milliseconds,
  PowerState,
  ServerId,
} from '@omnivisor/contracts';

/** What a backend says of itself after it tried to run a guest. */
export interface ProbeReport {
  /** `undetected`: not this kind of host. `unhealthy`: it is, but a guest cannot run on it now. */
  readonly health: HostHealth;
  /** One sentence for the operator: what was tried and what came back. */
  readonly reason: string;
  /** Product and version as the backend reports them, e.g. `QEMU 7.2.22`. */
  readonly version: string | null;
  /** Nova's `hypervisor_type` and `hypervisor_version` (major * 1,000,000 + minor * 1,000 + patch). */
  readonly hypervisorType: string;
  readonly hypervisorVersion: number;
  /** os-traits names and `CUSTOM_…`: what the CPU and the backend offer. Traits of optional members are added by the agent. */
  readonly traits: readonly string[];
  /** Nova's `cpu_info`. */
  readonly cpuInfo: Readonly<Record<string, unknown>>;
}

export interface HostInventory {
  readonly vcpus: number;
  readonly memoryMib: number;
  readonly diskGib: number;
}

/** What every guest of ours carries, on every backend. A guest without it is not ours and is never touched. */
export interface GuestMark {
  readonly cloudId: string;
  readonly serverId: ServerId;
  readonly attempt: number;
}

/** A network interface as the driver plugs it: the network side has made the device before `spawn`. */
export interface GuestNic {
  readonly portId: string;
  readonly mac: string;
  readonly mtu: number;
  /** Linux tap device, and the network namespace it lives in (null: the host's own). */
  readonly tap: string;
  readonly netns: string | null;
  readonly model: string | null;
}

export interface GuestSpec {
  readonly mark: GuestMark;
  readonly name: string;
  readonly flavor: FlavorSnapshot;
  readonly image: ImageSnapshot;
  /** The image's bytes on this host, in `image.diskFormat`, inspected and never to be changed. */
  readonly imagePath: string;
  readonly nics: readonly GuestNic[];
  /** Files of the config drive (volume label `config-2`), path to contents; null when there is none. */
  readonly configDrive: ReadonlyMap<string, Uint8Array> | null;
}

/** A guest with our mark, as it stands on the host. */
export interface FoundGuest {
  readonly mark: GuestMark;
  readonly power: PowerState;
  readonly memory: MiB;
  readonly vcpus: number;
}

/** Something happened to a guest that this driver object did not do. A hint: `list` has the truth. */
export interface DriverEvent {
  readonly serverId: ServerId;
}

/** A byte stream to a guest's serial port or VNC server. */
export interface ConsoleStream {
  readonly readable: NodeJS.ReadableStream;
  readonly writable: NodeJS.WritableStream;
  close(): void;
}

/**
 * One hypervisor endpoint as the compute agent drives it.
 *
 * Servers are named by `ServerId` only; native names (domain, VM reference, managed object) stay in the driver's folder.
 * Every method may be called again after a crash of the agent: asking for what already holds succeeds and changes
 * nothing. A method rejects with `HypervisorError` and nothing else. Guests outlive the agent and the driver object.
 * A call whose signal aborts ends at its next step, with `fault` when it has not done what it was asked for.
 *
 * What not every hypervisor can do is an optional member, present exactly when supported.
 */
export interface HypervisorDriver {
  readonly backend: Backend;

  /** Runs a throw-away guest where it can: the presence of a device file proves nothing. Never rejects. */
  probe(signal: AbortSignal): Promise<ProbeReport>;
  inventory(): Promise<HostInventory>;

  /** Every guest that carries the mark of `cloudId`, running or not. */
  list(): Promise<FoundGuest[]>;
  /** @throws HypervisorError `serverNotOnHost` */
  inspect(id: ServerId): Promise<FoundGuest>;
  /** Ends when `signal` aborts. A backend that tells nothing by itself may poll here. */
  events(signal: AbortSignal): AsyncIterable<DriverEvent>;

  /**
   * Defines the guest, with its disks, and leaves it running. On failure or abort nothing of it is left on the host.
   * A guest of the same mark that is there already: succeeds.
   * @throws HypervisorError `noResources` when the host cannot carry it
   */
  spawn(spec: GuestSpec, signal: AbortSignal): Promise<void>;
  /** Removes the guest and its local disks. Succeeds when there is none. */
  destroy(id: ServerId): Promise<void>;

  /** @param nics the guest's network devices, made anew by the network side after a host boot */
  powerOn(id: ServerId, nics: readonly GuestNic[], signal?: AbortSignal): Promise<void>;
  /**
   * Asks the guest to shut down, then cuts the power after `grace`. `grace` 0 cuts it at once. An abort while the guest
   * makes up its mind leaves it as it is: its power is not cut.
   */
  powerOff(id: ServerId, grace: Milliseconds, signal?: AbortSignal): Promise<void>;
  /**
   * `soft` asks the guest; when it does not react in time, and for `hard`, the power is cut and restored. An abort before
   * the cut leaves the guest as it is.
   */
  reboot(id: ServerId, kind: 'soft' | 'hard', nics: readonly GuestNic[], signal?: AbortSignal): Promise<void>;

  readonly pausing?: {
    pause(id: ServerId): Promise<void>;
    unpause(id: ServerId): Promise<void>;
  };
  readonly consoleLog?: {
    /** The newest `maxBytes` of what the guest wrote to its first serial port. */
    tail(id: ServerId, maxBytes: number): Promise<Buffer>;
  };
  readonly consoles?: {
    open(id: ServerId, protocol: 'vnc' | 'serial'): Promise<ConsoleStream>;
  };

  /** Lets go of connections and watchers; guests go on. */
  close(): Promise<void>;
}

export type HypervisorErrorCode =
  /** The backend does not know the server. */
  | 'serverNotOnHost'
  /** This backend has no such feature; no retry will help. */
  | 'unsupported'
  /** The host cannot carry it now; another host may. */
  | 'noResources'
  /** The backend did not answer; the same call may succeed later. */
  | 'unavailable'
  | 'fault';

export class HypervisorError extends Error {
  /** @param native the backend's own code and text, for the log; it never reaches an API caller. */
  constructor(
    readonly code: HypervisorErrorCode,
    message: string,
    readonly native?: string,
    options?: { cause?: unknown },
  ) {
    super(message, options);
    this.name = 'HypervisorError';
  }
}
