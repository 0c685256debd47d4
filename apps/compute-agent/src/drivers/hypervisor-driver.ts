import type { Backend, Milliseconds, ServerId } from '@omnivisor/contracts';
import type { DiskGrowing, Disks, Nics, Snapshots } from './interface/device-members.js';
import type { DriverEvent, FoundGuest, GuestNic, GuestSpec } from './interface/guest.js';
import type { HostInventory, Maintenance, ProbeReport } from './interface/host.js';
import type { DiskFormat } from './interface/image-source.js';
import type { CrashDumps, Pausing, Rebuilding, Rescuing, Resizing, Suspending } from './interface/lifecycle-members.js';
import type { Adoption, LiveMigration } from './interface/migration-members.js';
import type {
  ConsoleLog,
  Consoles,
  ConsoleTickets,
  GuestAgent,
  GuestIntegration,
  Statistics,
} from './interface/observation-members.js';

export * from './interface/device-members.js';
export * from './interface/errors.js';
export * from './interface/features.js';
export * from './interface/guest.js';
export * from './interface/host.js';
export * from './interface/image-source.js';
export * from './interface/lifecycle-members.js';
export * from './interface/migration-members.js';
export * from './interface/observation-members.js';

/**
 * One hypervisor endpoint as the compute agent drives it.
 *
 * Servers are named by `ServerId` only; native names (domain, VM reference, managed object) stay in the driver's folder.
 * Every method may be called again after a crash of the agent: asking for what already holds succeeds and changes
 * nothing. A method rejects with `HypervisorError` and nothing else; a call about a server that is not there with
 * `serverNotOnHost`, unless it says otherwise. A call whose signal aborts ends at its next step, with `fault` when it has
 * not done what it was asked for. Guests outlive the agent and the driver object.
 *
 * What not every hypervisor can do is an optional member, present exactly when supported; `features` (contracts) has the
 * trait and the row of the support matrix of each.
 */
export interface HypervisorDriver {
  readonly backend: Backend;
  /** What root disks and rescue images may be made from, best first. */
  readonly imageFormats: readonly DiskFormat[];

  /**
   * Physical networks that its ports can lie on, where they end at switches of the hypervisor itself; absent where the
   * network side makes a device for each port.
   */
  readonly physicalNetworks?: readonly string[];

  /** Runs a throw-away guest where it can: the presence of a device file proves nothing. Never rejects. */
  probe(signal: AbortSignal): Promise<ProbeReport>;
  /** Cheap, asked every few seconds. @throws HypervisorError `unavailable` when the hypervisor does not answer */
  check(): Promise<void>;
  inventory(): Promise<HostInventory>;

  /** Every guest that carries the mark of the driver's cloud, whatever its stage and power. */
  list(): Promise<FoundGuest[]>;
  inspect(id: ServerId): Promise<FoundGuest>;
  /** Ends when `signal` aborts. A backend that tells nothing by itself may poll here. */
  events(signal: AbortSignal): AsyncIterable<DriverEvent>;

  /**
   * Defines the guest, with its disks, and starts it unless `powerOn` is false. On failure or abort nothing of it is left on the host.
   * A guest of the same mark that is there already: succeeds, whatever its power.
   * @throws HypervisorError `noResources` when the host cannot carry it, `unsupported` for what its image, flavor or
   *   ports ask for and cannot get, `fault` when another attempt or build of the server is here
   */
  spawn(spec: GuestSpec, signal: AbortSignal): Promise<void>;
  /**
   * Removes the guest and its local disks, whatever its stage; attached disks stay. Succeeds when there is none.
   * @param attempt which one is meant, where hosts see each other's guests: any other stays
   */
  destroy(id: ServerId, attempt?: number): Promise<void>;

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

  readonly pausing?: Pausing;
  readonly suspending?: Suspending;
  readonly rebuilding?: Rebuilding;
  readonly rescuing?: Rescuing;
  readonly resizing?: Resizing;
  readonly crashDumps?: CrashDumps;
  readonly snapshots?: Snapshots;
  readonly disks?: Disks;
  readonly diskGrowing?: DiskGrowing;
  readonly nics?: Nics;
  readonly liveMigration?: LiveMigration;
  readonly adoption?: Adoption;
  readonly maintenance?: Maintenance;
  readonly consoleLog?: ConsoleLog;
  readonly consoles?: Consoles;
  readonly consoleTickets?: ConsoleTickets;
  readonly statistics?: Statistics;
  readonly guestAgent?: GuestAgent;
  readonly guestIntegration?: GuestIntegration;

  /** Lets go of connections and watchers; guests go on. */
  close(): Promise<void>;
}
