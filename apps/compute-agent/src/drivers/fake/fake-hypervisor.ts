import type { Milliseconds, ServerId } from '@omnivisor/contracts';
import { ms } from '@omnivisor/contracts';
import type { Clock } from '@omnivisor/platform';
import { EventChannel } from '../common/event-channel.js';
import { type GuestMark, type GuestSpec, type HostInventory, HypervisorError } from '../hypervisor-driver.js';
import type { FakeGuest } from './fake-guest.js';
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
  | 'consoleLog'
  | 'console';

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

/**
 * The "machine" under `FakeDriver`: it stands while driver objects come and go, as a host does while agents restart.
 * It is honest about limits: what its inventory cannot carry is refused.
 */
export class FakeHypervisor {
  readonly clock: Clock;
  readonly inventory: HostInventory;
  readonly guestEvents = new EventChannel();
  readonly shutdownTime: Milliseconds;
  /** Guests somebody else made: they use no mark of ours, and the driver must neither list nor touch them. */
  readonly foreignGuests = new Map<string, { power: 'running' | 'shutdown' }>();
  /** True: nothing answers, every call is `unavailable`; guests go on. */
  unreachable = false;
  /** Guests that ignore the power button. */
  readonly ignoringAcpi = new Set<ServerId>();

  private readonly guests: Map<ServerId, FakeGuest>;
  private readonly building = new Map<ServerId, GuestSpec>();
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
    this.files = options.stateDir === undefined ? null : new FakeGuestFiles(options.stateDir);
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
    this.change(id, { power: 'shutdown' });
    this.guestEvents.publish(id);
  }

  /** The guest dies of itself. */
  crash(id: ServerId): void {
    this.change(id, { power: 'crashed' });
    this.guestEvents.publish(id);
  }

  /** Somebody removed the guest behind our back. */
  vanish(id: ServerId): void {
    this.remove(id);
    this.guestEvents.publish(id);
  }

  /** The machine starts anew: every guest is off. */
  bootHost(): void {
    for (const id of this.guests.keys()) this.change(id, { power: 'shutdown' });
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

  /** Takes room for a guest in the making. @throws HypervisorError `noResources` */
  begin(spec: GuestSpec): void {
    const wanted = demandOf(spec);
    const used = this.used();
    const limits = { ...this.inventory, vcpus: this.inventory.vcpus * this.cpuOvercommit };
    for (const kind of ['vcpus', 'memoryMib', 'diskGib'] as const)
      if (used[kind] + wanted[kind] > limits[kind])
        throw new HypervisorError(
          'noResources',
          `not enough ${kind}: ${wanted[kind]} wanted, ${limits[kind] - used[kind]} of ${limits[kind]} free`,
        );
    this.building.set(spec.mark.serverId, spec);
  }

  /** The guest is complete and runs. */
  complete(spec: GuestSpec): void {
    this.store({
      mark: spec.mark,
      name: spec.name,
      power: 'running',
      ...demandOf(spec),
      nics: spec.nics.map((nic) => nic.tap),
      console: bootText(spec.name, spec.mark),
    });
    this.building.delete(spec.mark.serverId);
  }

  giveUp(id: ServerId): void {
    this.building.delete(id);
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

  private answer(): void {
    if (this.unreachable) throw new HypervisorError('unavailable', 'the hypervisor does not answer');
  }

  private used(): HostInventory {
    const total = { vcpus: 0, memoryMib: 0, diskGib: 0 };
    const add = (demand: HostInventory) => {
      total.vcpus += demand.vcpus;
      total.memoryMib += demand.memoryMib;
      total.diskGib += demand.diskGib;
    };
    for (const guest of this.guests.values()) add(guest);
    for (const spec of this.building.values()) add(demandOf(spec));
    return total;
  }
}

const CONSOLE_KEPT = 65_536;

const demandOf = ({ flavor }: GuestSpec): HostInventory => ({
  vcpus: flavor.vcpus,
  memoryMib: flavor.memory,
  diskGib: flavor.disk + flavor.ephemeral + Math.ceil(flavor.swap / 1024),
});

/** What every fake guest prints when its power comes on. */
export const bootText = (name: string, mark: GuestMark): string =>
  `fake guest ${name}: power on\nfake guest ${name}: instance-id=${mark.serverId} up\n`;
