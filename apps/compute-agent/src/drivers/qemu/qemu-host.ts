import { chownSync, existsSync, lstatSync, readFileSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { mib, type PowerState, ServerId } from '@omnivisor/contracts';
import { EventChannel } from '../common/event-channel.js';
import { KeyedMutex } from '../common/keyed-mutex.js';
import { asHypervisorError } from '../common/native-command.js';
import {
  type FoundGuest,
  type GuestNic,
  type GuestSpec,
  type GuestStage,
  type HostInventory,
  HypervisorError,
} from '../hypervisor-driver.js';
import type { Execution } from './command-line.js';
import { trimConsole } from './console-file.js';
import { CloudId, GuestDefinition, type Nic } from './definition.js';
import { NIC_MODELS } from './devices.js';
import { DiskTools } from './disk-tools.js';
import { FILES } from './files.js';
import { kill } from './guest-process.js';
import { GuestStore } from './guest-store.js';
import { guestUser } from './guest-user.js';
import { hostInventory } from './host-resources.js';
import { type Capabilities, findCapabilities } from './probe.js';
import { QemuGuest, type RunState } from './qemu-guest.js';
import type { QmpClient } from './qmp-client.js';
import { freeSlot } from './slots.js';
import { endTpm, startTpm } from './tpm.js';

export interface QemuDriverOptions {
  /** Folder for guests; whatever lies in it survives the agent and the host. */
  readonly stateDir: string;
  readonly cloudId: string;
  readonly qemu?: string;
  /** Only this accelerator is tried; otherwise KVM, then TCG. */
  readonly accel?: 'kvm' | 'tcg';
  /** Folder for the disks of guests, on storage that other hosts have in the same place. */
  readonly sharedDisks?: string;
  /** Address where other hosts reach this one to send it guests; without it they come from this machine only. */
  readonly migrationAddress?: string;
  /** Memory of the host that guests do not get. */
  readonly reservedMemoryMib?: number;
  /** Overrides what the host has, where several agents share one machine. */
  readonly inventory?: Partial<HostInventory>;
  /** Milliseconds until a silent QEMU counts as not answering. */
  readonly answerTimeout?: number;
  /** Milliseconds a guest gets to follow a soft reboot. */
  readonly softRebootPatience?: number;
  /** Milliseconds a running guest gets to let go of a device. */
  readonly unplugPatience?: number;
}

export const NEVER: AbortSignal = new AbortController().signal;
const START_TIMEOUT = 30_000;

/** Guests of one cloud in one folder: what all members of the driver do with them. */
export class QemuHost {
  readonly store: GuestStore;
  readonly channel = new EventChannel();
  readonly qemu: string;
  readonly answerTimeout: number;
  readonly unplugPatience: number;
  /** Spawns of this object that are under way; what is `building` otherwise was left behind. */
  readonly building = new Map<ServerId, number>();
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
    this.unplugPatience = options.unplugPatience ?? 20_000;
    const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    this.store = new GuestStore(join(options.stateDir, 'guests'), bootId);
  }

  inventory(): HostInventory {
    const { stateDir, reservedMemoryMib = 512, inventory } = this.options;
    return { ...hostInventory(stateDir, reservedMemoryMib), ...inventory };
  }

  /** Memory of this host in MiB, and what of it has been promised to guests beside this one. */
  promisedMemory(beside: ServerId): { total: number; used: number } {
    let used = 0;
    for (const [id, memory] of this.building) if (id !== beside) used += memory;
    for (const id of this.store.ids())
      if (id !== beside && !this.building.has(id)) used += this.store.read(id)?.memoryMib ?? 0;
    return { total: this.inventory().memoryMib, used };
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

  /** Starts the guest's process, its CPUs halted. What was left of a suspend that is given up goes. */
  async begin(guest: GuestDefinition, signal: AbortSignal, extra: readonly string[] = []): Promise<void> {
    const { serverId: id } = guest.mark;
    if (!guest.suspended) rmSync(this.store.path(id, FILES.memory), { force: true });
    if (guest.tpm) await startTpm(this.store.path(id), guestUser(id), this.answerTimeout);
    await this.live(id).start(guest, await this.execution(id), signal, extra);
    await this.throttle(guest);
  }

  /** Starts a guest whose definition is written when its process stands, so that a crash shows what was meant. */
  async bringUp(guest: GuestDefinition, signal: AbortSignal): Promise<void> {
    const { serverId: id } = guest.mark;
    try {
      await this.begin(guest, signal);
      if (signal.aborted) throw new HypervisorError('fault', 'starting the guest was aborted');
      this.store.write({ ...guest, change: null, phase: 'spawned', suspended: false });
      await this.live(id).call(guest, 'cont');
    } catch (error) {
      await this.live(id).end(guest);
      this.store.noteStopped(id);
      throw asHypervisorError(error, 'starting the guest');
    }
  }

  /** Ends the process, if there is one. Also of a guest that crashed: it rests from now on. */
  async turnOff(guest: GuestDefinition): Promise<void> {
    const { serverId: id } = guest.mark;
    if ((await this.state(guest)) === 'gone') this.store.noteStopped(id);
    await this.live(id).end(guest);
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
    const disks = sharedFolder(this.store.path(id, FILES.disks));
    if (disks && guest.phase !== 'moved' && guest.phase !== 'incoming') rmSync(disks, { recursive: true, force: true });
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
    const { accel } = this.options;
    try {
      const options = { qemu: this.qemu, runAs: guestUser(null), ...(accel ? { accel } : {}) };
      const found = await findCapabilities(options, signal);
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

  /** Limits of the flavor for each of the guest's own disks. */
  private async throttle(guest: GuestDefinition): Promise<void> {
    const limit = (name: string) => guest.limits[`disk_${name}`] ?? 0;
    const limits = {
      bps: limit('total_bytes_sec'),
      bps_rd: limit('read_bytes_sec'),
      bps_wr: limit('write_bytes_sec'),
      iops: limit('total_iops_sec'),
      iops_rd: limit('read_iops_sec'),
      iops_wr: limit('write_iops_sec'),
    };
    if (!Object.values(limits).some((value) => value > 0)) return;
    const { serverId: id } = guest.mark;
    for (const { name } of guest.disks)
      await this.live(id).call(guest, 'block_set_io_throttle', { id: `dev-${name}`, ...limits });
  }
}

const replace = <V extends { close(): void }>(all: Map<ServerId, V>, id: ServerId, next: V | null): void => {
  const before = all.get(id);
  if (before !== next) before?.close();
  if (next) all.set(id, next);
  else all.delete(id);
};

const POWER: Readonly<Record<RunState, PowerState>> = {
  running: 'running',
  paused: 'paused',
  prelaunch: 'paused',
  postmigrate: 'paused',
  'finish-migrate': 'paused',
  'save-vm': 'paused',
  'restore-vm': 'paused',
  'io-error': 'paused',
  watchdog: 'paused',
  suspended: 'suspended',
  shutdown: 'shutdown',
  'guest-panicked': 'crashed',
  'internal-error': 'crashed',
};

const stageOf = (guest: GuestDefinition): GuestStage => {
  if (guest.phase === 'building' || guest.change !== null) return 'building';
  if (guest.phase === 'incoming' || guest.phase === 'moved') return guest.phase;
  if (guest.rescue) return 'rescued';
  return guest.before ? 'resized' : 'settled';
};

/** Another host has it, or it has not come yet. */
export const refuseAway = (guest: GuestDefinition): GuestDefinition => {
  if (guest.phase === 'incoming' || guest.phase === 'moved')
    throw new HypervisorError(
      'fault',
      guest.phase === 'moved' ? 'the guest has moved away' : 'the guest is on its way',
    );
  return guest;
};

/** Where the disks are when they are not in the guest's folder. */
const sharedFolder = (disks: string): string | null => {
  try {
    return lstatSync(disks).isSymbolicLink() ? realpathSync(disks) : null;
  } catch {
    return null;
  }
};

/** Network devices as the guest has them from now on; one that it had before keeps its place. */
export const withNics = (guest: GuestDefinition, nics: readonly GuestNic[]): GuestDefinition => {
  const made: Nic[] = [];
  for (const nic of nics) {
    const before = guest.nics.find(({ portId }) => portId === nic.portId);
    const slot = before?.slot ?? freeSlot({ ...guest, nics: [...guest.nics, ...made] });
    made.push(nicOf(guest, nic, slot));
  }
  return { ...guest, nics: made };
};

export const nicOf = (guest: GuestDefinition, nic: GuestNic, slot: number): Nic => {
  const { portId, mac, mtu, model, attachment } = nic;
  if (attachment.kind !== 'tap')
    throw new HypervisorError('unsupported', `a port on a ${attachment.networkType} network needs a device here`);
  const device = model === null ? guest.nicModel : Object.hasOwn(NIC_MODELS, model) ? NIC_MODELS[model] : undefined;
  if (!device) throw new HypervisorError('unsupported', `this host has no network interface of model ${model}`);
  return { portId, mac, mtu, model: device, tap: attachment.tap, netns: attachment.netns, slot };
};

/** @throws HypervisorError `fault` when something in it cannot be */
export const checked = (guest: GuestDefinition): GuestDefinition => {
  const parsed = GuestDefinition.safeParse(guest);
  if (parsed.success) return parsed.data;
  throw new HypervisorError('fault', 'the guest cannot be defined', parsed.error.message);
};

export const markOf = ({ mark }: GuestSpec): GuestDefinition['mark'] => ({ ...mark });
