import type { Milliseconds, ServerId } from '@omnivisor/contracts';
import { ms } from '@omnivisor/contracts';
import type { Clock } from '@omnivisor/platform';
import { EventChannel } from '../common/event-channel.js';
import { type ForeignGuest, type GuestSpec, type HostInventory, HypervisorError } from '../hypervisor-driver.js';
import { bootText, type FakeGuest, type Letter, NOTHING, nicsFrom } from './fake-guest.js';
import { FakeGuestFiles } from './fake-guest-files.js';

/** A call of the driver, as delays and faults name it. */
export type FakeOperation =
  | 'probe'
  | 'list'
  | 'spawn'
  | 'destroy'
  | 'powerOn'
  | 'powerOff'
  | 'reboot'
  | 'pause'
  | 'unpause'
  | 'suspend'
  | 'resume'
  | 'rebuild'
  | 'rescue'
  | 'unrescue'
  | 'checkResize'
  | 'resize'
  | 'crashDump'
  | 'snapshot'
  | 'attach'
  | 'cutOff'
  | 'detach'
  | 'migrate'
  | 'adopt'
  | 'consoleLog'
  | 'console'
  | 'statistics'
  | 'guestAgent';

export interface FakeHypervisorOptions {
  readonly clock: Clock;
  readonly inventory?: HostInventory;
  /** vCPUs it carries for each of its own; memory and disk are never overcommitted. */
  readonly cpuOvercommit?: number;
  /** How long each call takes; 0 unless told. */
  readonly delays?: Partial<Record<FakeOperation, Milliseconds>>;
  /** How long a guest needs to shut down when asked to. */
  readonly shutdownTime?: Milliseconds;
  /** A folder to keep guests in, so that they outlive the process: one JSON file for each. */
  readonly stateDir?: string;
}

/** Storage of a fake machine that outlives guests. */
export interface FakeVolume {
  readonly letter: Letter;
  readonly size: number;
}

/**
 * The "machine" under `FakeDriver`: it stands while driver objects come and go, as a host does while agents restart.
 * It is honest about limits: what its inventory cannot carry is refused.
 */
export class FakeHypervisor {
  readonly clock: Clock;
  readonly inventory: HostInventory;
  readonly guestEvents = new EventChannel();
  readonly shutdownTime: Milliseconds;
  readonly stateDir: string | null;
  /** Guests somebody else made: they use no mark of ours, and the driver must neither list nor touch them. */
  readonly foreignGuests = new Map<string, ForeignGuest>();
  /** By the path that a `GuestDisk` names. */
  readonly volumes = new Map<string, FakeVolume>();
  /** True: nothing answers, every call is `unavailable`; guests go on. */
  unreachable = false;
  /** Guests that ignore the power button. */
  readonly ignoringAcpi = new Set<ServerId>();

  private readonly guests: Map<ServerId, FakeGuest>;
  private readonly building = new Map<ServerId, HostInventory>();
  private readonly delays: Map<FakeOperation, Milliseconds>;
  private readonly faults = new Map<FakeOperation, HypervisorError[]>();
  private readonly files: FakeGuestFiles | null;
  private readonly cpuOvercommit: number;

  constructor(options: FakeHypervisorOptions) {
    this.clock = options.clock;
    this.inventory = options.inventory ?? { vcpus: 16, memoryMib: 65_536, diskGib: 1_000 };
    this.cpuOvercommit = options.cpuOvercommit ?? 16;
    this.shutdownTime = options.shutdownTime ?? ms(0);
    this.delays = new Map(Object.entries(options.delays ?? {}) as [FakeOperation, Milliseconds][]);
    this.stateDir = options.stateDir ?? null;
    this.files = this.stateDir === null ? null : new FakeGuestFiles(this.stateDir);
    this.guests = this.files?.load() ?? new Map();
  }

  /** The next `times` calls of the operation fail so. A spawn fails after its delay, with the guest half made. */
  failNext(operation: FakeOperation, error = new HypervisorError('fault', 'broken on demand'), times = 1): void {
    this.faults.set(operation, [...(this.faults.get(operation) ?? []), ...Array<HypervisorError>(times).fill(error)]);
  }

  /** Nothing fails any more. */
  clearFaults(): void {
    this.faults.clear();
  }

  /** From now on the operation takes so long. */
  slow(operation: FakeOperation, duration: Milliseconds): void {
    this.delays.set(operation, duration);
  }

  /** The guest shuts itself down. */
  shutDownFromInside(id: ServerId): void {
    this.change(id, { power: 'shutdown', startedAt: null, memory: NOTHING });
    this.guestEvents.publish(id);
  }

  /** The guest dies of itself. */
  crash(id: ServerId): void {
    this.change(id, { power: 'crashed', startedAt: null, memory: NOTHING });
    this.guestEvents.publish(id);
  }

  /** Somebody removed the guest behind our back. */
  vanish(id: ServerId): void {
    this.remove(id);
    this.guestEvents.publish(id);
  }

  /** The machine starts anew: every guest is off, but those that were suspended. */
  bootHost(): void {
    for (const [id, { power }] of this.guests)
      if (power !== 'suspended') this.change(id, { power: 'shutdown', startedAt: null, memory: NOTHING });
  }

  /** A guest with a mark appears that no driver call made, as after the return of an older log. */
  plant(guest: FakeGuest): void {
    this.store(guest);
  }

  /** The guest writes to its serial port. */
  print(id: ServerId, text: string): void {
    const guest = this.guests.get(id);
    if (guest) this.change(id, { console: (guest.console + text).slice(-CONSOLE_KEPT) });
  }

  guest(id: ServerId): FakeGuest | undefined {
    return this.guests.get(id);
  }

  all(): FakeGuest[] {
    return [...this.guests.values()];
  }

  /** Takes the operation's time, then fails as told. */
  async work(operation: FakeOperation, signal?: AbortSignal): Promise<void> {
    this.answer();
    const delay = this.delays.get(operation) ?? 0;
    if (delay > 0) await this.clock.sleep(ms(delay), signal);
    this.answer();
    const fault = this.faults.get(operation)?.shift();
    if (fault) throw fault;
  }

  /** Takes room for a guest in the making, or for what a resize would make of one. @throws HypervisorError `noResources` */
  begin(id: ServerId, wanted: HostInventory): void {
    this.refuseBeyond(id, wanted);
    this.building.set(id, wanted);
  }

  /** @throws HypervisorError `noResources` when it has no room for that */
  refuseBeyond(id: ServerId, wanted: HostInventory): void {
    const used = this.usedBeside(id);
    const limits = { ...this.inventory, vcpus: this.inventory.vcpus * this.cpuOvercommit };
    for (const kind of ['vcpus', 'memoryMib', 'diskGib'] as const)
      if (used[kind] + wanted[kind] > limits[kind])
        throw new HypervisorError(
          'noResources',
          `not enough ${kind}: ${wanted[kind]} wanted, ${limits[kind] - used[kind]} of ${limits[kind]} free`,
        );
  }

  /** The guest is complete. */
  complete(guest: FakeGuest): void {
    this.store(guest);
    this.building.delete(guest.mark.serverId);
  }

  giveUp(id: ServerId): void {
    this.building.delete(id);
  }

  /** The guest's power comes on. */
  start(id: ServerId, change: Partial<FakeGuest> = {}): void {
    this.change(id, { ...change, power: 'running', startedAt: this.clock.now(), memory: NOTHING });
    const guest = this.guests.get(id);
    if (guest) this.print(id, bootText(guest));
  }

  change(id: ServerId, change: Partial<FakeGuest>): void {
    const guest = this.guests.get(id);
    if (guest) this.store({ ...guest, ...change });
  }

  remove(id: ServerId): void {
    this.guests.delete(id);
    this.files?.remove(id);
  }

  private store(guest: FakeGuest): void {
    this.guests.set(guest.mark.serverId, guest);
    this.files?.save(guest);
  }

  answer(): void {
    if (this.unreachable) throw new HypervisorError('unavailable', 'the hypervisor does not answer');
  }

  private usedBeside(id: ServerId): HostInventory {
    const total = { vcpus: 0, memoryMib: 0, diskGib: 0 };
    const add = (demand: HostInventory) => {
      total.vcpus += demand.vcpus;
      total.memoryMib += demand.memoryMib;
      total.diskGib += demand.diskGib;
    };
    for (const [other, guest] of this.guests) if (other !== id) add(guest);
    for (const [other, demand] of this.building) if (other !== id) add(demand);
    return total;
  }
}

const CONSOLE_KEPT = 65_536;

/** A guest that a spec asks for, off and before it has run. */
export const guestFrom = (spec: GuestSpec): FakeGuest => {
  const disks = {
    root: NOTHING,
    rootGib: spec.disks.root.size,
    ephemeralGib: spec.disks.ephemeral?.size ?? 0,
    swapMib: spec.disks.swap,
  };
  return {
    mark: spec.mark,
    name: spec.name,
    stage: 'settled',
    power: 'shutdown',
    startedAt: null,
    vcpus: spec.flavor.vcpus,
    memoryMib: spec.flavor.memory,
    diskGib: diskDemand(disks),
    nics: nicsFrom(spec.nics),
    disks,
    attached: [],
    configDrive: [...(spec.configDrive?.keys() ?? [])],
    memory: NOTHING,
    writes: 0,
    hasAgent: spec.image.properties.hw_qemu_guest_agent === 'yes',
    rescue: null,
    before: null,
    expects: null,
    adopted: null,
    console: '',
  };
};

export const diskDemand = (disks: FakeGuest['disks']): number =>
  disks.rootGib + disks.ephemeralGib + Math.ceil(disks.swapMib / 1024);
