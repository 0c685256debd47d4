import { chownSync, existsSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { mib, type PowerState, ServerId } from '@omnivisor/contracts';
import { EventChannel } from '../common/event-channel.js';
import { KeyedMutex } from '../common/keyed-mutex.js';
import { MIGRATION_SILENCE } from '../common/migration/relay.js';
import { asHypervisorError } from '../common/native-command.js';
import { type FoundGuest, type HostInventory, HypervisorError } from '../hypervisor-driver.js';
import { trimConsole } from './console-file.js';
import { CloudId, type GuestDefinition } from './definition.js';
import { sharedFolders } from './disk-places.js';
import { DiskTools } from './disk-tools.js';
import { FILES } from './files.js';
import { type Execution, executionOf, type GuestCpu, guestCpu } from './guest-cpu.js';
import { kill } from './guest-process.js';
import { GuestStore } from './guest-store.js';
import { guestUser } from './guest-user.js';
import { HostCpus } from './host-cpus.js';
import { hostInventory } from './host-resources.js';
import { storageId } from './migration/storage-id.js';
import type { QemuDriverOptions } from './options.js';
import { type Capabilities, cpuInfo, findCapabilities } from './probe.js';
import { QemuGuest } from './qemu-guest.js';
import type { QmpClient } from './qmp-client.js';
import { freePages } from './sizes.js';
import { POWER, type RunState, refuseAborted, refuseAway, stageOf } from './states.js';
import { endTpm, startTpm } from './tpm.js';
import { confine, pin, tune } from './tuning.js';

export const NEVER: AbortSignal = new AbortController().signal;
const START_TIMEOUT = 30_000;

/** Guests of one cloud in one folder: what all members of the driver do with them. */
export class QemuHost {
  readonly store: GuestStore;
  readonly cpus: HostCpus;
  readonly channel = new EventChannel();
  readonly qemu: string;
  readonly answerTimeout: number;
  readonly agentPatience: number;
  readonly unplugPatience: number;
  readonly migrationSilence: number;
  readonly migrationStandstill: number;
  /** Spawns of this object that are under way; what is `building` otherwise was left behind. */
  readonly building = new Set<ServerId>();
  private readonly guests = new Map<ServerId, QemuGuest>();
  /** What listens for guests that come, and carries those that go: both end with this object. */
  private readonly relays = new Map<ServerId, { close(): void }>();
  private readonly sendings = new Map<ServerId, { close(): void }>();
  private readonly oneAtATime = new KeyedMutex<ServerId>();
  private isClosed = false;
  private capabilities: Promise<Capabilities> | null = null;

  constructor(readonly options: QemuDriverOptions) {
    CloudId.parse(options.cloudId);
    this.qemu = options.qemu ?? 'qemu-system-x86_64';
    this.answerTimeout = options.answerTimeout ?? 5_000;
    this.agentPatience = options.agentPatience ?? 10_000;
    this.unplugPatience = options.unplugPatience ?? 20_000;
    this.migrationSilence = options.migrationSilence ?? MIGRATION_SILENCE;
    this.migrationStandstill = options.migrationStandstill ?? 30_000;
    const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    this.store = new GuestStore(join(options.stateDir, 'guests'), bootId);
    this.cpus = new HostCpus(this.store, options.cpus);
  }

  inventory(): HostInventory {
    return { ...hostInventory(this.storage), ...this.cpus.inventory(), ...this.options.inventory };
  }

  /** Takes guests that began before the sets were what they are off processors that are not theirs. */
  private async confineShared(): Promise<void> {
    const place = this.cpus.sharedNow();
    if (place === null || place.length === 0) return;
    for (const id of this.store.ids()) {
      const guest = this.read(id);
      const pid = guest && !guest.adopted && !guest.cpus ? this.live(id).pid(guest) : null;
      if (!guest || pid === null || this.building.has(id)) continue;
      await confine(pid, place).catch((error: unknown) => {
        // It may have ended meanwhile.
        if (this.live(id).pid(guest) === pid) throw error;
      });
    }
  }

  /** Folder that the disks of new guests are in. */
  get storage(): string {
    return this.options.sharedDisks ?? this.options.stateDir;
  }

  /** The same on each host that has the folder of shared disks; null when this one has none. */
  sharedStorage(): string | null {
    const { sharedDisks } = this.options;
    return sharedDisks === undefined ? null : storageId(sharedDisks);
  }

  /** Free pages of a size in KiB, in MiB; those that the guest's process holds are free once it has ended. */
  freePagesFor(guest: GuestDefinition, size: number): number {
    const isHeld = guest.hugePages === size && this.live(guest.mark.serverId).hasProcess(guest);
    return freePages(size) + (isHeld ? guest.memoryMib : 0);
  }

  read(id: ServerId): GuestDefinition | null {
    const guest = this.store.read(id);
    return guest?.mark.cloudId === this.options.cloudId ? guest : null;
  }

  /** @throws HypervisorError `serverNotOnHost` */
  definition(id: ServerId): GuestDefinition {
    const guest = this.read(id);
    if (!guest || this.building.has(id))
      throw new HypervisorError('serverNotOnHost', `server ${id} is not on this host`);
    return guest;
  }

  live(id: ServerId): QemuGuest {
    const known = this.guests.get(id);
    if (known) return known;
    const guest = new QemuGuest(id, {
      store: this.store,
      qemu: this.qemu,
      answerTimeout: this.answerTimeout,
      startTimeout: START_TIMEOUT,
      agentPatience: this.agentPatience,
      isClosed: () => this.isClosed,
      changed: (changed) => {
        this.channel.publish(changed);
        const definition = this.read(changed);
        if (definition) void this.look(definition).catch(() => undefined);
      },
    });
    this.guests.set(id, guest);
    return guest;
  }

  /** What listens for the guest; null when it is here. */
  keepRelay(id: ServerId, relay: { close(): void } | null): void {
    replace(this.relays, id, relay);
  }

  keepSending(id: ServerId, sending: { close(): void } | null): void {
    replace(this.sendings, id, sending);
  }

  qmp(guest: GuestDefinition): Promise<QmpClient> {
    return this.live(guest.mark.serverId).connect(guest);
  }

  state(guest: GuestDefinition): Promise<RunState> {
    return this.live(guest.mark.serverId).state(guest);
  }

  tools(guest: GuestDefinition): DiskTools {
    const { serverId: id } = guest.mark;
    return new DiskTools(this.store.path(id), guestUser(id));
  }

  /** How the guest's process runs on this host. */
  async execution(id: ServerId): Promise<Execution> {
    return { ...(await this.ability()).execution, runAs: guestUser(id) };
  }

  /** What guests that are started now run on. */
  async cpu(): Promise<GuestCpu> {
    return guestCpu((await this.ability()).execution, cpuInfo());
  }

  /** What the guest's process runs on, which an agent before this one may have started. */
  cpuOf(guest: GuestDefinition): GuestCpu {
    return guestCpu(executionOf(this.live(guest.mark.serverId).command(guest)), cpuInfo());
  }

  /** One change at a time per server, its events kept to itself, and nothing thrown but `HypervisorError`. */
  alone<T>(id: ServerId, action: () => Promise<T>): Promise<T> {
    return this.oneAtATime.run(id, async () => {
      try {
        return await this.live(id).quietly(action);
      } catch (error) {
        throw asHypervisorError(error, 'driving QEMU');
      } finally {
        if (!this.store.read(id)) this.guests.delete(id);
      }
    });
  }

  /** A change that needs to know what the guest is made of. @throws HypervisorError `unsupported` of an adopted one */
  onOwnGuest<T>(id: ServerId, action: (guest: GuestDefinition) => Promise<T>): Promise<T> {
    return this.onGuest(id, async (guest) => {
      if (guest.adopted)
        throw new HypervisorError('unsupported', 'a guest that was adopted keeps its disks and devices');
      return action(guest);
    });
  }

  /** A change of a guest that is ours and whole. @throws HypervisorError `fault` of one that is on its way */
  onGuest<T>(id: ServerId, action: (guest: GuestDefinition) => Promise<T>): Promise<T> {
    return this.alone(id, async () => action(refuseAway(this.definition(id))));
  }

  /** Folder of the guest's disks, made when it is not there yet. */
  disksFolder(guest: GuestDefinition): string {
    const { serverId: id } = guest.mark;
    const place = this.store.path(id, FILES.disks);
    const { sharedDisks } = this.options;
    if (sharedDisks === undefined || existsSync(place)) return place;
    const folder = join(sharedDisks, ServerId.parse(id));
    // Whoever fails to spawn wipes its disks: these are not its own.
    if (existsSync(folder)) throw new HypervisorError('fault', 'another host has the disks of this server');
    symlinkSync(folder, place);
    return folder;
  }

  /** Lets the tools that run as the guest's user read and write a file of its folder. */
  giveToGuest({ mark }: GuestDefinition, file: string): void {
    const user = guestUser(mark.serverId);
    if (user !== null) chownSync(this.store.path(mark.serverId, file), user, user);
  }

  facts(guest: GuestDefinition): Omit<FoundGuest, 'power'> {
    return { mark: guest.mark, memory: mib(guest.memoryMib), vcpus: guest.vcpus, stage: stageOf(guest) };
  }

  async look(guest: GuestDefinition): Promise<FoundGuest> {
    const { serverId: id } = guest.mark;
    const facts = this.facts(guest);
    if (facts.stage === 'building' || facts.stage === 'incoming') return { ...facts, power: 'noState' };
    if (facts.stage === 'moved') return { ...facts, power: 'shutdown' };
    const state = await this.state(guest);
    if (state === 'shutdown') this.settle(guest);
    trimConsole(this.store.path(id, FILES.console));
    return { ...facts, power: this.powerOf(guest, state) };
  }

  powerOf(guest: GuestDefinition, state: RunState): PowerState {
    if (guest.suspended) return 'suspended';
    return state === 'gone' ? this.store.restingPower(guest.mark.serverId) : (POWER[state] ?? 'noState');
  }

  /** A guest that shut itself down keeps its process, which tells of it until we have noted it; then it can go. */
  private settle({ mark }: GuestDefinition): void {
    const id = mark.serverId;
    void this.alone(id, async () => {
      const guest = this.read(id);
      if (guest && (await this.state(guest)) === 'shutdown') await this.live(id).end(guest);
    }).catch(() => this.channel.publish(id));
  }

  /**
   * Starts the guest's process, its CPUs halted. What was left of a suspend that is given up goes.
   * @returns the guest, on other CPUs of the machine where its own are not to be had any more
   */
  async begin(found: GuestDefinition, signal: AbortSignal, extra: readonly string[] = []): Promise<GuestDefinition> {
    const guest = this.cpus.renewed(found);
    const place = this.cpus.placeOf(guest);
    const { serverId: id } = guest.mark;
    if (!guest.suspended) rmSync(this.store.path(id, FILES.memory), { force: true });
    if (guest.tpm) await startTpm(this.store.path(id), guestUser(id), this.answerTimeout);
    await this.live(id).start(guest, await this.execution(id), signal, extra, place);
    await this.prepare(guest);
    return guest;
  }

  /** What a process needs before its guest runs. */
  private async prepare(guest: GuestDefinition): Promise<void> {
    if (guest.adopted) return;
    const live = this.live(guest.mark.serverId);
    await tune(live, guest);
    await pin(live, guest, this.cpus.sharedNow());
  }

  /** Lets a guest that stands still run, also one whose agent ended before it was made ready. */
  async goOn(guest: GuestDefinition, state: RunState): Promise<void> {
    if (state === 'prelaunch') await this.prepare(guest);
    await this.live(guest.mark.serverId).call(guest, 'cont');
  }

  /** Starts a guest whose definition is written when its process stands, so that a crash shows what was meant. */
  async bringUp(found: GuestDefinition, signal: AbortSignal): Promise<void> {
    const { serverId: id } = found.mark;
    try {
      const guest = await this.begin(found, signal);
      refuseAborted(signal);
      this.store.write({ ...guest, change: null, phase: 'spawned', suspended: false });
      await this.live(id).call(guest, 'cont');
    } catch (error) {
      await this.live(id).end(found);
      this.store.noteStopped(id);
      throw asHypervisorError(error, 'starting the guest');
    }
  }

  /** Ends the process, if there is one. Also of a guest that crashed: it rests from now on. */
  async turnOff(guest: GuestDefinition): Promise<void> {
    const { serverId: id } = guest.mark;
    const live = this.live(id);
    if (!live.hasProcess(guest)) this.store.noteStopped(id);
    else if (this.isClosed) throw new HypervisorError('unavailable', 'the driver was closed');
    // Not asked how it stands: a process that hangs would not say.
    await live.end(guest);
    await endTpm(this.store.path(id));
  }

  /** Removes everything of the guest, and its disks unless another host has it now. */
  async wipe(guest: GuestDefinition): Promise<void> {
    const { serverId: id } = guest.mark;
    const folder = this.store.path(id);
    await kill(folder, guest, this.answerTimeout);
    await endTpm(folder);
    this.keepRelay(id, null);
    this.live(id).disconnect();
    this.guests.delete(id);
    const isElsewhere = guest.shared && (guest.phase === 'moved' || guest.phase === 'incoming');
    if (!isElsewhere)
      for (const disks of sharedFolders(this.store, id)) rmSync(disks, { recursive: true, force: true });
    this.store.remove(id);
  }

  /** Shared by all who need it, so nobody's abort ends it. */
  ability(): Promise<Capabilities> {
    this.capabilities ??= this.findAbility(NEVER).catch((error: unknown) => {
      this.capabilities = null;
      throw error;
    });
    return this.capabilities;
  }

  async findAbility(signal: AbortSignal): Promise<Capabilities> {
    const { accel, cpuModels } = this.options;
    try {
      await this.cpus.check(signal);
      const options = {
        qemu: this.qemu,
        runAs: guestUser(null),
        ...(accel ? { accel } : {}),
        ...(cpuModels ? { cpuModels } : {}),
      };
      const found = await findCapabilities(options, signal);
      await this.confineShared();
      this.capabilities = Promise.resolve(found);
      return found;
    } catch (error) {
      throw asHypervisorError(error, 'probing QEMU');
    }
  }

  async close(): Promise<void> {
    this.isClosed = true;
    this.channel.close();
    for (const carrier of [...this.relays.values(), ...this.sendings.values()]) carrier.close();
    for (const guest of this.guests.values()) await guest.quietly(async () => guest.disconnect());
    this.guests.clear();
  }
}

const replace = <V extends { close(): void }>(all: Map<ServerId, V>, id: ServerId, next: V | null): void => {
  const before = all.get(id);
  if (before !== next) before?.close();
  if (next) all.set(id, next);
  else all.delete(id);
};
