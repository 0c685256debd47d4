import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Milliseconds, mib, type PowerState, type ServerId } from '@omnivisor/contracts';
import { EventChannel } from '../common/event-channel.js';
import { KeyedMutex } from '../common/keyed-mutex.js';
import {
  type ConsoleStream,
  type DriverEvent,
  type FoundGuest,
  type GuestNic,
  type GuestSpec,
  type HostInventory,
  type HypervisorDriver,
  HypervisorError,
  type ProbeReport,
} from '../hypervisor-driver.js';
import { FILES } from './command-line.js';
import { consoleTail, trimConsole } from './console-file.js';
import { CloudId, GuestDefinition } from './definition.js';
import { devicesFor } from './devices.js';
import { disksFor, makeDisks } from './disks.js';
import { kill } from './guest-process.js';
import { GuestStore } from './guest-store.js';
import { guestUser } from './guest-user.js';
import { hostInventory, refuseBeyondCapacity } from './host-resources.js';
import { asHypervisorError } from './native-command.js';
import { type Capabilities, findCapabilities, reportOf } from './probe.js';
import { QemuGuest, type RunState } from './qemu-guest.js';
import { connectUnix } from './qmp-client.js';
import { isSpread } from './taps.js';

export interface QemuDriverOptions {
  /** Folder for guests; whatever lies in it survives the agent and the host. */
  readonly stateDir: string;
  readonly cloudId: string;
  readonly qemu?: string;
  /** Only this accelerator is tried; otherwise KVM, then TCG. */
  readonly accel?: 'kvm' | 'tcg';
  /** Memory of the host that guests do not get. */
  readonly reservedMemoryMib?: number;
  /** Overrides what the host has, where several agents share one machine. */
  readonly inventory?: Partial<HostInventory>;
  /** Milliseconds until a silent QEMU counts as not answering. */
  readonly answerTimeout?: number;
  /** Milliseconds a guest gets to follow a soft reboot. */
  readonly softRebootPatience?: number;
}

/**
 * QEMU processes, driven over QMP. Guests are processes in sessions of their own; what they are made of lies in
 * `<stateDir>/guests/<server id>`, so any later driver object finds them again.
 */
export class QemuDriver implements HypervisorDriver {
  readonly backend = 'qemu';
  readonly pausing = {
    pause: (id: ServerId) => this.setRunning(id, false),
    unpause: (id: ServerId) => this.setRunning(id, true),
  };
  readonly consoleLog = { tail: (id: ServerId, maxBytes: number) => this.tail(id, maxBytes) };
  readonly consoles = { open: (id: ServerId, protocol: 'vnc' | 'serial') => this.openConsole(id, protocol) };

  private readonly store: GuestStore;
  private readonly guests = new Map<ServerId, QemuGuest>();
  /** Spawns of this object that are under way; what is `building` otherwise was left behind. */
  private readonly building = new Map<ServerId, number>();
  private readonly oneAtATime = new KeyedMutex<ServerId>();
  private readonly channel = new EventChannel();
  private readonly qemu: string;
  private capabilities: Promise<Capabilities> | null = null;

  constructor(private readonly options: QemuDriverOptions) {
    CloudId.parse(options.cloudId);
    this.qemu = options.qemu ?? 'qemu-system-x86_64';
    const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    this.store = new GuestStore(join(options.stateDir, 'guests'), bootId);
  }

  async probe(signal: AbortSignal): Promise<ProbeReport> {
    try {
      const found = await this.findAbility(signal);
      this.capabilities = Promise.resolve(found);
      return reportOf(found);
    } catch (error) {
      return reportOf(asHypervisorError(error, 'probing QEMU'));
    }
  }

  async inventory(): Promise<HostInventory> {
    const { stateDir, reservedMemoryMib = 512, inventory } = this.options;
    return { ...hostInventory(stateDir, reservedMemoryMib), ...inventory };
  }

  async list(): Promise<FoundGuest[]> {
    const ours = this.store.ids().flatMap((id) => {
      const guest = this.read(id);
      return guest && !this.building.has(id) ? [guest] : [];
    });
    return Promise.all(
      ours.map((guest) =>
        // One guest that hangs must not hide the others.
        this.look(guest).catch((): FoundGuest => ({ ...sizes(guest), power: 'noState' })),
      ),
    );
  }

  async inspect(id: ServerId): Promise<FoundGuest> {
    return this.look(this.definition(id));
  }

  events(signal: AbortSignal): AsyncIterable<DriverEvent> {
    // Events come over the connections to the guests, so there has to be one to each.
    void this.list().catch(() => undefined);
    return this.channel.subscribe(signal);
  }

  spawn(spec: GuestSpec, signal: AbortSignal): Promise<void> {
    const { serverId: id } = spec.mark;
    return this.alone(id, async () => {
      if (await this.isThere(spec)) return;
      refuseAborted(signal);
      const { machines, execution } = await this.ability();
      const guest = defined(spec, machines);
      refuseBeyondCapacity(spec, this.options.stateDir, await this.promisedMemory());
      this.building.set(id, spec.flavor.memory);
      try {
        this.store.create(guest);
        await makeDisks(this.store.path(id), spec, guest, signal);
        await this.live(id).start(guest, { ...execution, runAs: guestUser(id) }, signal);
        refuseAborted(signal);
        this.store.write({ ...guest, phase: 'spawned' });
        await this.live(id).call(guest, 'cont');
      } catch (error) {
        await this.wipe(id, guest);
        throw asHypervisorError(error, 'spawning the guest');
      } finally {
        this.building.delete(id);
      }
    });
  }

  destroy(id: ServerId): Promise<void> {
    return this.alone(id, async () => {
      const guest = this.read(id);
      if (guest) await this.wipe(id, guest);
    });
  }

  powerOn(id: ServerId, nics: readonly GuestNic[], signal: AbortSignal = NEVER): Promise<void> {
    return this.alone(id, () => this.turnOn(id, nics, signal));
  }

  powerOff(id: ServerId, grace: Milliseconds, signal: AbortSignal = NEVER): Promise<void> {
    return this.alone(id, async () => {
      const guest = this.definition(id);
      const state = await this.live(id).state(guest);
      if (state === 'running' && grace > 0) await this.live(id).shutDown(guest, grace, signal);
      refuseAborted(signal);
      await this.turnOff(guest, state);
    });
  }

  reboot(id: ServerId, kind: 'soft' | 'hard', nics: readonly GuestNic[], signal: AbortSignal = NEVER): Promise<void> {
    return this.alone(id, async () => {
      const guest = this.definition(id);
      const state = await this.live(id).state(guest);
      const patience = this.options.softRebootPatience ?? 60_000;
      if (kind === 'soft' && state === 'running') await this.live(id).shutDown(guest, patience, signal);
      refuseAborted(signal);
      await this.turnOff(guest, state);
      await this.turnOn(id, nics, signal);
    });
  }

  async close(): Promise<void> {
    this.channel.close();
    for (const guest of this.guests.values()) await guest.quietly(async () => guest.disconnect());
    this.guests.clear();
  }

  private async turnOn(id: ServerId, nics: readonly GuestNic[], signal: AbortSignal): Promise<void> {
    refuseAborted(signal);
    const guest = this.definition(id);
    const state = await this.live(id).state(guest);
    if (state === 'running') return;
    // A start that was cut off may have left devices away from their networks.
    const isCutOff = state === 'prelaunch' && isSpread(guest);
    if (RESUMABLE.has(state) && !isCutOff) return this.live(id).call(guest, 'cont');
    await this.turnOff(guest, state);
    const { execution } = await this.ability();
    const next = GuestDefinition.parse({ ...guest, phase: 'spawned', nics: nicsOf(nics) });
    this.store.write(next);
    try {
      await this.live(id).start(next, { ...execution, runAs: guestUser(id) }, signal);
      await this.live(id).call(next, 'cont');
    } catch (error) {
      await this.live(id).end(next);
      this.store.noteStopped(id);
      throw asHypervisorError(error, 'starting the guest');
    }
  }

  /** Also of a guest that crashed: it rests from now on. */
  private async turnOff(guest: GuestDefinition, state: RunState): Promise<void> {
    if (state === 'gone') this.store.noteStopped(guest.mark.serverId);
    await this.live(guest.mark.serverId).end(guest);
  }

  private setRunning(id: ServerId, run: boolean): Promise<void> {
    return this.alone(id, async () => {
      const guest = this.definition(id);
      const state = await this.live(id).state(guest);
      const power = this.powerOf(guest, state);
      if (power !== 'running' && power !== 'paused')
        throw new HypervisorError('fault', `cannot ${run ? 'unpause' : 'pause'} a guest that is ${power}`);
      if ((power === 'running') !== run) await this.live(id).call(guest, run ? 'cont' : 'stop');
    });
  }

  private async tail(id: ServerId, maxBytes: number): Promise<Buffer> {
    this.definition(id);
    try {
      return consoleTail(this.store.path(id, FILES.console), maxBytes);
    } catch (error) {
      throw asHypervisorError(error, 'reading the console log');
    }
  }

  private async openConsole(id: ServerId, protocol: 'vnc' | 'serial'): Promise<ConsoleStream> {
    const guest = this.definition(id);
    if ((await this.live(id).state(guest)) === 'gone') throw new HypervisorError('unavailable', 'the guest is off');
    const socket = await connectUnix(this.store.path(id, FILES[protocol])).catch((error: unknown) => {
      throw new HypervisorError('unavailable', 'the console does not answer', (error as Error).message, {
        cause: error,
      });
    });
    socket.on('error', () => socket.destroy());
    return { readable: socket, writable: socket, close: () => void socket.destroy() };
  }

  private async look(guest: GuestDefinition): Promise<FoundGuest> {
    const id = guest.mark.serverId;
    if (guest.phase === 'building') return { ...sizes(guest), power: 'noState' };
    const state = await this.live(id).state(guest);
    if (state === 'shutdown') this.settle(guest);
    trimConsole(this.store.path(id, FILES.console));
    return { ...sizes(guest), power: this.powerOf(guest, state) };
  }

  /** A guest that shut itself down keeps its process, which tells of it until we have noted it; then it can go. */
  private settle({ mark }: GuestDefinition): void {
    const id = mark.serverId;
    void this.alone(id, async () => {
      const guest = this.read(id);
      if (guest && (await this.live(id).state(guest)) === 'shutdown') await this.live(id).end(guest);
    }).catch(() => this.channel.publish(id));
  }

  private powerOf(guest: GuestDefinition, state: RunState): PowerState {
    return state === 'gone' ? this.store.restingPower(guest.mark.serverId) : (POWER[state] ?? 'noState');
  }

  /** True when this very guest is there and whole. Clears away what a spawn left behind that was cut off. */
  private async isThere({ mark }: GuestSpec): Promise<boolean> {
    const guest = this.store.read(mark.serverId);
    if (!guest) {
      if (this.store.ids().includes(mark.serverId))
        throw new HypervisorError('fault', `a guest that is not ours has the place of server ${mark.serverId}`);
      return false;
    }
    if (guest.mark.cloudId !== mark.cloudId || mark.cloudId !== this.options.cloudId)
      throw new HypervisorError('fault', `a guest of another cloud has the place of server ${mark.serverId}`);
    if (guest.mark.attempt !== mark.attempt)
      throw new HypervisorError('fault', `another attempt of server ${mark.serverId} is on this host`);
    if (guest.phase === 'building') {
      await this.wipe(mark.serverId, guest);
      return false;
    }
    // The agent ended between the last two steps of the spawn.
    if ((await this.live(mark.serverId).state(guest)) === 'prelaunch')
      await this.live(mark.serverId).call(guest, 'cont');
    return true;
  }

  private async wipe(id: ServerId, guest: GuestDefinition): Promise<void> {
    await kill(this.store.path(id), guest, this.answerTimeout);
    this.live(id).disconnect();
    this.guests.delete(id);
    this.store.remove(id);
  }

  private async promisedMemory(): Promise<{ total: number; used: number }> {
    let used = 0;
    for (const [, memory] of this.building) used += memory;
    for (const id of this.store.ids()) if (!this.building.has(id)) used += this.store.read(id)?.memoryMib ?? 0;
    return { total: (await this.inventory()).memoryMib, used };
  }

  /** Shared by all who need it, so nobody's abort ends it. */
  private ability(): Promise<Capabilities> {
    this.capabilities ??= this.findAbility(NEVER).catch((error: unknown) => {
      this.capabilities = null;
      throw error;
    });
    return this.capabilities;
  }

  private findAbility(signal: AbortSignal): Promise<Capabilities> {
    const { accel } = this.options;
    return findCapabilities({ qemu: this.qemu, runAs: guestUser(null), ...(accel ? { accel } : {}) }, signal).catch(
      (error: unknown) => {
        throw asHypervisorError(error, 'probing QEMU');
      },
    );
  }

  private live(id: ServerId): QemuGuest {
    const known = this.guests.get(id);
    if (known) return known;
    const guest = new QemuGuest(id, {
      store: this.store,
      qemu: this.qemu,
      answerTimeout: this.answerTimeout,
      startTimeout: START_TIMEOUT,
      changed: (changed) => {
        this.channel.publish(changed);
        const definition = this.read(changed);
        if (definition) void this.look(definition).catch(() => undefined);
      },
    });
    this.guests.set(id, guest);
    return guest;
  }

  private get answerTimeout(): number {
    return this.options.answerTimeout ?? 5_000;
  }

  private read(id: ServerId): GuestDefinition | null {
    const guest = this.store.read(id);
    return guest?.mark.cloudId === this.options.cloudId ? guest : null;
  }

  private definition(id: ServerId): GuestDefinition {
    const guest = this.read(id);
    if (!guest || this.building.has(id))
      throw new HypervisorError('serverNotOnHost', `server ${id} is not on this host`);
    return guest;
  }

  /** One change at a time per server, its events kept to itself, and nothing thrown but `HypervisorError`. */
  private alone(id: ServerId, action: () => Promise<void>): Promise<void> {
    return this.oneAtATime.run(id, async () => {
      try {
        await this.live(id).quietly(action);
      } catch (error) {
        throw asHypervisorError(error, 'driving QEMU');
      } finally {
        if (!this.store.read(id)) this.guests.delete(id);
      }
    });
  }
}

const NEVER = new AbortController().signal;
const START_TIMEOUT = 30_000;

const RESUMABLE = new Set<RunState>(['paused', 'prelaunch', 'io-error']);

const POWER: Readonly<Record<RunState, PowerState>> = {
  running: 'running',
  paused: 'paused',
  prelaunch: 'paused',
  'io-error': 'paused',
  suspended: 'suspended',
  shutdown: 'shutdown',
  'guest-panicked': 'crashed',
  'internal-error': 'crashed',
};

const defined = (spec: GuestSpec, machines: Capabilities['machines']): GuestDefinition => {
  const parsed = GuestDefinition.safeParse({
    mark: spec.mark,
    phase: 'building',
    vcpus: spec.flavor.vcpus,
    memoryMib: spec.flavor.memory,
    ...devicesFor(spec, machines),
    ...disksFor(spec),
    nics: nicsOf(spec.nics),
  });
  if (parsed.success) return parsed.data;
  throw new HypervisorError('fault', 'the guest cannot be defined', parsed.error.message);
};

const nicsOf = (nics: readonly GuestNic[]) =>
  nics.map(({ portId, mac, mtu, tap, netns, model }) => ({ portId, mac, mtu, tap, netns, model }));

const sizes = (guest: GuestDefinition) => ({
  mark: guest.mark,
  memory: mib(guest.memoryMib),
  vcpus: guest.vcpus,
});

const refuseAborted = (signal: AbortSignal): void => {
  if (signal.aborted) throw new HypervisorError('fault', 'the call was aborted');
};
