import { PassThrough, Writable } from 'node:stream';
import { type Milliseconds, mib, ms, type PowerState, type ServerId } from '@omnivisor/contracts';
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
import type { FakeGuest } from './fake-guest.js';
import { bootText, type FakeHypervisor, type FakeOperation } from './fake-hypervisor.js';

export interface FakeDriverOptions {
  readonly cloudId: string;
  /** Optional members it lacks, to be a backend that cannot do them. */
  readonly without?: readonly ('pausing' | 'consoleLog' | 'consoles')[];
}

/** Drives a `FakeHypervisor`. It promises what every driver promises, and takes its time from the machine's clock. */
export class FakeDriver implements HypervisorDriver {
  readonly backend = 'fake';
  readonly pausing?: NonNullable<HypervisorDriver['pausing']>;
  readonly consoleLog?: NonNullable<HypervisorDriver['consoleLog']>;
  readonly consoles?: NonNullable<HypervisorDriver['consoles']>;

  private readonly oneAtATime = new KeyedMutex<ServerId>();
  private readonly closing = new AbortController();

  constructor(
    private readonly machine: FakeHypervisor,
    private readonly options: FakeDriverOptions,
  ) {
    const has = (member: 'pausing' | 'consoleLog' | 'consoles') => !options.without?.includes(member);
    if (has('pausing'))
      this.pausing = {
        pause: (id) => this.setPaused(id, 'pause', 'running', 'paused'),
        unpause: (id) => this.setPaused(id, 'unpause', 'paused', 'running'),
      };
    if (has('consoleLog')) this.consoleLog = { tail: (id, maxBytes) => this.tail(id, maxBytes) };
    if (has('consoles')) this.consoles = { open: (id) => this.openConsole(id) };
  }

  async probe(signal: AbortSignal): Promise<ProbeReport> {
    const facts = {
      version: 'Fake 1.0',
      hypervisorType: 'fake',
      hypervisorVersion: 1_000_000,
      traits: ['COMPUTE_NODE', 'COMPUTE_IMAGE_TYPE_RAW', 'COMPUTE_IMAGE_TYPE_QCOW2', 'CUSTOM_HYPERVISOR_FAKE'],
      cpuInfo: { arch: 'x86_64', model: 'fake', vendor: 'none', topology: { sockets: 1, cores: 1, threads: 1 } },
    };
    try {
      await this.machine.work('probe', signal);
      return { ...facts, health: 'healthy', reason: 'in memory: it holds guests but runs none' };
    } catch (error) {
      return { ...facts, health: 'unhealthy', reason: (error as Error).message };
    }
  }

  async inventory(): Promise<HostInventory> {
    await this.machine.work('list');
    return this.machine.inventory;
  }

  async list(): Promise<FoundGuest[]> {
    await this.machine.work('list');
    return this.machine.all().filter(this.isOurs).map(found);
  }

  async inspect(id: ServerId): Promise<FoundGuest> {
    await this.machine.work('list');
    return found(this.guest(id));
  }

  events(signal: AbortSignal): AsyncIterable<DriverEvent> {
    return this.machine.guestEvents.subscribe(AbortSignal.any([signal, this.closing.signal]));
  }

  spawn(spec: GuestSpec, signal: AbortSignal): Promise<void> {
    const id = spec.mark.serverId;
    return this.oneAtATime.run(id, async () => {
      const there = this.machine.guest(id);
      if (there && sameMark(there, spec)) return this.machine.work('list');
      if (there) throw new HypervisorError('fault', `another attempt of server ${id} is on this host`);
      this.machine.begin(spec);
      try {
        refuseAborted(signal);
        await this.machine.work('spawn', signal);
        refuseAborted(signal);
        this.machine.complete(spec);
      } catch (error) {
        this.machine.giveUp(id);
        throw error;
      }
    });
  }

  destroy(id: ServerId): Promise<void> {
    return this.oneAtATime.run(id, async () => {
      await this.machine.work('destroy');
      const guest = this.machine.guest(id);
      if (guest && this.isOurs(guest)) this.machine.remove(id);
    });
  }

  powerOn(id: ServerId, nics: readonly GuestNic[], signal: AbortSignal = NEVER): Promise<void> {
    return this.onGuest(id, 'powerOn', signal, async () => this.start(id, nics));
  }

  powerOff(id: ServerId, grace: Milliseconds, signal: AbortSignal = NEVER): Promise<void> {
    return this.onGuest(id, 'powerOff', signal, async (guest) => {
      if (isOff(guest.power)) return;
      await this.shutDown(id, grace, signal);
      this.machine.change(id, { power: 'shutdown' });
    });
  }

  reboot(id: ServerId, kind: 'soft' | 'hard', nics: readonly GuestNic[], signal: AbortSignal = NEVER): Promise<void> {
    return this.onGuest(id, 'reboot', signal, async (guest) => {
      if (kind === 'soft' && guest.power === 'running') await this.shutDown(id, SOFT_REBOOT_WAIT, signal);
      this.machine.change(id, { power: 'shutdown' });
      this.start(id, nics);
    });
  }

  async close(): Promise<void> {
    this.closing.abort();
  }

  private setPaused(id: ServerId, operation: FakeOperation, from: PowerState, to: PowerState): Promise<void> {
    return this.onGuest(id, operation, NEVER, async (guest) => {
      if (guest.power === to) return;
      if (guest.power !== from)
        throw new HypervisorError('fault', `cannot ${operation} a guest that is ${guest.power}`);
      this.machine.change(id, { power: to });
    });
  }

  private async tail(id: ServerId, maxBytes: number): Promise<Buffer> {
    await this.machine.work('consoleLog');
    const text = Buffer.from(this.guest(id).console);
    return text.subarray(Math.max(0, text.length - maxBytes));
  }

  private async openConsole(id: ServerId): Promise<ConsoleStream> {
    await this.machine.work('console');
    if (isOff(this.guest(id).power)) throw new HypervisorError('unavailable', 'the guest is off');
    const echo = new PassThrough();
    const typed = new Writable({
      write: (bytes: Buffer, _encoding, done) => {
        this.machine.print(id, bytes.toString());
        echo.write(bytes);
        done();
      },
    });
    const close = () => {
      typed.destroy();
      echo.end();
    };
    return { readable: echo, writable: typed, close };
  }

  private async shutDown(id: ServerId, grace: Milliseconds, signal: AbortSignal): Promise<void> {
    const reacts = !this.machine.ignoringAcpi.has(id) && this.machine.shutdownTime <= grace;
    await this.machine.clock.sleep(ms(reacts ? this.machine.shutdownTime : grace), signal);
    refuseAborted(signal);
  }

  private start(id: ServerId, nics: readonly GuestNic[]): void {
    const guest = this.guest(id);
    if (!isOff(guest.power)) return;
    this.machine.change(id, { power: 'running', nics: nics.map((nic) => nic.tap) });
    this.machine.print(id, bootText(guest.name, guest.mark));
  }

  private onGuest(
    id: ServerId,
    operation: FakeOperation,
    signal: AbortSignal,
    action: (guest: FakeGuest) => Promise<void>,
  ): Promise<void> {
    return this.oneAtATime.run(id, async () => {
      refuseAborted(signal);
      await this.machine.work(operation, signal);
      refuseAborted(signal);
      await action(this.guest(id));
    });
  }

  private guest(id: ServerId): FakeGuest {
    const guest = this.machine.guest(id);
    if (!guest || !this.isOurs(guest)) throw new HypervisorError('serverNotOnHost', `server ${id} is not on this host`);
    return guest;
  }

  private readonly isOurs = (guest: FakeGuest): boolean => guest.mark.cloudId === this.options.cloudId;
}

const SOFT_REBOOT_WAIT = ms(60_000);
const NEVER = new AbortController().signal;

const isOff = (power: PowerState): boolean => power === 'shutdown' || power === 'crashed';

const sameMark = (guest: FakeGuest, { mark }: GuestSpec): boolean =>
  guest.mark.cloudId === mark.cloudId && guest.mark.attempt === mark.attempt;

const refuseAborted = (signal: AbortSignal): void => {
  if (signal.aborted) throw new HypervisorError('fault', 'the call was aborted');
};

const found = ({ mark, power, memoryMib, vcpus }: FakeGuest): FoundGuest => ({
  mark,
  power,
  memory: mib(memoryMib),
  vcpus,
});
