import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { bytes, type FlavorSnapshot, type Milliseconds, type ServerId } from '@omnivisor/contracts';
import { EventChannel } from '../common/event-channel.js';
import { KeyedMutex } from '../common/keyed-mutex.js';
import {
  type ConsoleKind,
  type ConsoleStream,
  type DiskExport,
  type DiskFormat,
  type DriverEvent,
  type FoundGuest,
  type GuestIntegrationInfo,
  type GuestNic,
  type GuestSpec,
  type GuestStatistics,
  type HostInventory,
  type HypervisorDriver,
  HypervisorError,
  type Maintenance,
  type ProbeReport,
  type Survey,
} from '../hypervisor-driver.js';
import { Adopting } from './operations/adoption.js';
import { Changing } from './operations/changing.js';
import { Devices } from './operations/devices.js';
import { type Guest, Guests } from './operations/guests.js';
import { Host, type HostSettings } from './operations/host.js';
import { LocalDisks } from './operations/local-disks.js';
import { Making } from './operations/making.js';
import { Migration } from './operations/migration.js';
import { type NetworkSettings, Networks } from './operations/networks.js';
import { Observation } from './operations/observation.js';
import { Power } from './operations/power.js';
import { NOTHING_KNOWN, PARAVIRTUAL, Probe } from './operations/probe.js';
import { Sending } from './operations/sending.js';
import { Storage } from './operations/storage.js';
import { Watch } from './operations/watch.js';
import { download } from './transport/transfer.js';
import { fromXapi } from './transport/xapi-error.js';
import { type XapiAccess, XapiSession } from './transport/xapi-session.js';

export interface XenServerOptions extends HostSettings, NetworkSettings {
  readonly cloudId: string;
  readonly access: XapiAccess;
  /** Folder of this machine where disks are formatted before they go up. */
  readonly stateDir: string;
  /** Milliseconds a guest gets to follow a soft reboot. */
  readonly softRebootPatience?: number;
}

const CHECK_LIMIT = 5_000;

/** All that is done by way of one session, once the pool is known. */
interface Operations {
  readonly guests: Guests;
  readonly devices: Devices;
  readonly disks: LocalDisks;
  readonly power: Power;
  readonly making: Making;
  readonly changing: Changing;
  readonly migration: Migration;
  readonly sending: Sending;
  readonly adopting: Adopting;
  readonly observation: Observation;
}

/**
 * A pool of XenServer or XCP-ng, driven over XAPI: one of its members is the host, or the whole pool is. All that is known of
 * a guest lies in the pool, so any later driver object finds it again, and a VM that the pool moves takes it along.
 */
export class XenServerDriver implements HypervisorDriver {
  readonly backend = 'xenserver';
  readonly imageFormats: readonly DiskFormat[] = ['vhd', 'raw'];
  readonly physicalNetworks: readonly string[];

  readonly pausing = {
    pause: (id: ServerId) => this.change(id, 'pausing the guest', ({ power }, { ref }) => power.pause(ref)),
    unpause: (id: ServerId) => this.change(id, 'unpausing the guest', ({ power }, { ref }) => power.unpause(ref)),
  };
  readonly suspending = {
    suspend: (id: ServerId) => this.change(id, 'suspending the guest', ({ power }, { ref }) => power.suspend(ref)),
    resume: (id: ServerId, nics: readonly GuestNic[]) =>
      this.change(id, 'resuming the guest', ({ making }, guest) => making.resume(guest, nics)),
  };
  readonly rebuilding = {
    rebuild: (spec: GuestSpec, signal: AbortSignal) =>
      this.change(spec.mark.serverId, 'rebuilding the guest', ({ changing }, guest) =>
        changing.rebuild(guest, spec, signal),
      ),
  };
  readonly rescuing = {
    rescue: (spec: GuestSpec, signal: AbortSignal) =>
      this.change(spec.mark.serverId, 'rescuing the guest', ({ changing }, guest) =>
        changing.rescue(guest, spec, signal),
      ),
    unrescue: (id: ServerId, nics: readonly GuestNic[]) =>
      this.change(id, 'unrescuing the guest', ({ changing }, guest) => changing.unrescue(guest, nics)),
  };
  readonly resizing = {
    checkResize: (id: ServerId, flavor: FlavorSnapshot) =>
      this.change(id, 'looking at a resize', ({ changing }, guest) => changing.checkResize(guest, flavor)),
    resize: (id: ServerId, flavor: FlavorSnapshot, signal: AbortSignal) =>
      this.change(id, 'resizing the guest', ({ changing }, guest) => changing.resize(guest, flavor, signal)),
    confirmResize: (id: ServerId) =>
      this.change(id, 'confirming the resize', ({ changing }, guest) => changing.confirmResize(guest)),
    revertResize: (id: ServerId) =>
      this.change(id, 'reverting the resize', ({ changing }, guest) => changing.revertResize(guest)),
  };
  readonly snapshots = {
    formats: ['vhd', 'raw'] as const,
    exportDisk: (id: ServerId, disk: 'root' | 'ephemeral', format: DiskFormat, signal: AbortSignal) =>
      this.exportDisk(id, disk, format, signal),
  };
  readonly disks = {
    attach: (id: ServerId, disk: Parameters<Devices['attachDisk']>[1]) =>
      this.change(id, 'attaching the disk', ({ devices }, guest) => devices.attachDisk(guest, disk)),
    detach: (id: ServerId, diskId: string) =>
      this.change(id, 'detaching the disk', ({ devices }, guest) => devices.detachDisk(guest, diskId)),
  };
  readonly nics = {
    attach: (id: ServerId, nic: GuestNic) =>
      this.change(id, 'attaching the network interface', async ({ devices }, guest) => {
        const [planned] = await devices.plan([nic]);
        await devices.attachNic(guest, planned!);
      }),
    cutOff: (id: ServerId, portId: string) =>
      this.change(id, 'cutting off the network interface', ({ devices }, guest) => devices.cutOffNic(guest, portId)),
    detach: (id: ServerId, portId: string) =>
      this.change(id, 'detaching the network interface', ({ devices }, guest) => devices.detachNic(guest, portId)),
  };
  readonly liveMigration: NonNullable<HypervisorDriver['liveMigration']> = {
    kinds: new Set(['copied'] as const),
    reach: () => this.ask('looking at the storage of the pool', ({ migration }) => migration.reach()),
    offer: (id) =>
      this.ask('offering the guest', async ({ guests, migration }) => migration.offer(await guests.settled(id))),
    receive: (spec, offer, options, signal) =>
      this.alone(spec.mark.serverId, 'letting the guest in', ({ migration }) =>
        migration.receive(spec, offer, options, signal),
      ),
    send: (id, ticket, options) =>
      this.alone(id, 'sending the guest', async ({ guests, sending }) =>
        sending.send(await guests.get(id), ticket, options),
      ),
    accept: (id) => this.alone(id, 'accepting the guest', ({ migration }) => migration.accept(id)),
    cancel: (id) =>
      this.alone(id, 'keeping the guest out', async ({ guests, migration }) => {
        const guest = await guests.find(id);
        if (guest) await migration.cancel(guest);
      }),
    recover: (id) =>
      this.alone(id, 'recovering the guest', async ({ guests, migration }) => migration.recover(await guests.get(id))),
  };
  readonly adoption: NonNullable<HypervisorDriver['adoption']> = {
    candidates: () => this.ask('looking for guests', ({ adopting }) => adopting.candidates()),
    adopt: (nativeId, mark, nics) =>
      this.alone(mark.serverId, 'adopting the guest', async ({ adopting, guests }) =>
        guests.view(await adopting.adopt(nativeId, mark, nics)),
      ),
    release: (id) => this.alone(id, 'releasing the guest', ({ adopting }) => adopting.release(id)),
  };
  /** Where one member is the host; a whole pool has nowhere to go. */
  readonly maintenance?: Maintenance;
  private readonly consoleKinds = new Set<ConsoleKind>(['vnc']);
  readonly consoles = {
    /** Serial ones once the pool was seen to make paravirtual guests: no others have them. */
    kinds: this.consoleKinds as ReadonlySet<ConsoleKind>,
    open: (id: ServerId, kind: ConsoleKind): Promise<ConsoleStream> =>
      this.ask('opening the console', async ({ guests, observation }) =>
        observation.console(await guests.settled(id), kind),
      ),
  };
  readonly guestIntegration = {
    read: (id: ServerId): Promise<GuestIntegrationInfo> =>
      this.ask('asking for what the guest tells', async ({ guests, observation }) =>
        observation.integration(await guests.settled(id)),
      ),
  };
  readonly statistics = {
    read: (id: ServerId): Promise<GuestStatistics> =>
      this.ask('reading the statistics', async ({ guests, observation }) =>
        observation.statistics(await guests.settled(id)),
      ),
  };

  private readonly xapi: XapiSession;
  private readonly host: Host;
  private readonly networks: Networks;
  private readonly oneAtATime = new KeyedMutex<ServerId>();
  private readonly channel = new EventChannel();
  private readonly closing = new AbortController();
  private opening: Promise<Operations> | null = null;
  private watching: Promise<void> | null = null;

  constructor(private readonly options: XenServerOptions) {
    this.physicalNetworks = Object.keys(options.physicalNetworks);
    this.xapi = new XapiSession(options.access);
    this.host = new Host(this.xapi, options);
    this.networks = new Networks(this.xapi, options);
    if (options.member !== null)
      this.maintenance = {
        enter: (signal) => this.wrap('emptying the host', () => this.host.enterMaintenance(signal)),
        leave: () => this.wrap('taking the host back', () => this.host.leaveMaintenance()),
      };
  }

  async probe(signal: AbortSignal): Promise<ProbeReport> {
    if (this.options.access.urls.length === 0)
      return { ...NOTHING_KNOWN, health: 'undetected', reason: 'no address of a pool is configured' };
    return this.seen(await new Probe(this.xapi, this.host).run(signal));
  }

  check(): Promise<void> {
    return this.wrap('asking the pool', async () => {
      const late = sleep(CHECK_LIMIT, 'late' as const, { ref: false });
      if ((await Promise.race([this.host.check(), late])) === 'late')
        throw new HypervisorError('unavailable', 'the pool does not answer in time');
    });
  }

  survey(): Promise<Survey> {
    return this.wrap('looking at the pool', async () => this.seen(await new Probe(this.xapi, this.host).survey()));
  }

  /** A pool that did not answer is as it was seen before. */
  private seen<T extends Survey>(found: T): T {
    if (found.version === null) return found;
    if (found.traits.includes(PARAVIRTUAL)) this.consoleKinds.add('serial');
    else this.consoleKinds.delete('serial');
    return found;
  }

  inventory(): Promise<HostInventory> {
    return this.wrap('counting what the host has', () => this.host.inventory());
  }

  list(): Promise<FoundGuest[]> {
    return this.ask('listing guests', async ({ guests }) => guests.views(await guests.all()));
  }

  inspect(id: ServerId): Promise<FoundGuest> {
    return this.ask('looking at the guest', async ({ guests }) => {
      const [found] = await guests.views([await guests.get(id)]);
      return found!;
    });
  }

  events(signal: AbortSignal): AsyncIterable<DriverEvent> {
    const events = this.channel.subscribe(signal);
    this.watching ??= this.watch();
    return events;
  }

  spawn(spec: GuestSpec, signal: AbortSignal): Promise<void> {
    return this.alone(spec.mark.serverId, 'spawning the guest', ({ making }) => making.spawn(spec, signal));
  }

  destroy(id: ServerId, attempt?: number): Promise<void> {
    return this.alone(id, 'removing the guest', async ({ guests, making, migration, disks }) => {
      const guest = await (attempt === undefined ? guests.find(id) : guests.ofAttempt(id, attempt));
      if (!guest) return disks.removeStrays(id);
      const { stage } = guests.view(guest);
      if (stage === 'moved') return migration.forget(guest);
      // It runs elsewhere still; here it is expected only.
      if (stage === 'incoming' && migration.isElsewhere(guest)) return migration.cancel(guest);
      await migration.dropArrived(guest);
      await making.remove(guest);
    });
  }

  powerOn(id: ServerId, nics: readonly GuestNic[], signal?: AbortSignal): Promise<void> {
    return this.change(id, 'starting the guest', ({ making }, guest) => making.start(guest, nics, signal));
  }

  powerOff(id: ServerId, grace: Milliseconds, signal?: AbortSignal): Promise<void> {
    return this.change(id, 'stopping the guest', async ({ power, making }, guest) => {
      await making.settle(guest);
      await power.off(guest.ref, grace, signal);
    });
  }

  reboot(id: ServerId, kind: 'soft' | 'hard', nics: readonly GuestNic[], signal?: AbortSignal): Promise<void> {
    return this.change(id, 'rebooting the guest', async ({ power, making }, guest) => {
      const grace = kind === 'soft' ? (this.options.softRebootPatience ?? 60_000) : 0;
      await power.off(guest.ref, grace, signal);
      await making.start(guest, nics, signal);
    });
  }

  async close(): Promise<void> {
    this.closing.abort();
    this.channel.close();
    await this.xapi.close();
    await this.watching;
  }

  private async exportDisk(
    id: ServerId,
    disk: 'root' | 'ephemeral',
    format: DiskFormat,
    signal: AbortSignal,
  ): Promise<DiskExport> {
    if (format !== 'vhd' && format !== 'raw')
      throw new HypervisorError('unsupported', `this pool does not write disks of format ${format}`);
    const { disks, taken } = await this.alone(id, 'taking the snapshot', async (all) => {
      const guest = await all.guests.settled(id);
      return { disks: all.disks, taken: await all.disks.snapshot(guest, disk, signal) };
    });
    // A snapshot that stays is marked with the server, and goes with its next change or with itself.
    const forget = () => disks.forgetSnapshot(taken.ref).catch(() => undefined);
    try {
      const content = await download(this.xapi, taken.ref, format, signal);
      const stream = Readable.from(content, { objectMode: false });
      stream.once('close', () => void forget());
      return { format, virtualSize: bytes(taken.size), quiesced: false, stream };
    } catch (error) {
      await forget();
      throw fromXapi(error, 'reading the snapshot');
    }
  }

  /** Tells of changes to our guests until the driver is closed. */
  private async watch(): Promise<void> {
    const watch = new Watch(this.xapi, (id) => this.channel.publish(id));
    while (!this.closing.signal.aborted)
      try {
        const { guests } = await this.operations();
        await watch.next((record) => guests.serverOf(record));
      } catch {
        // Whoever asks next is told; what was missed meanwhile is told again.
        watch.forget();
        await sleep(1_000, undefined, { signal: this.closing.signal }).catch(() => undefined);
      }
  }

  private operations(): Promise<Operations> {
    this.opening ??= this.open().catch((error: unknown) => {
      this.opening = null;
      throw error;
    });
    return this.opening;
  }

  private async open(): Promise<Operations> {
    const place = await this.host.place();
    const { cloudId, stateDir } = this.options;
    const { xapi } = this;
    const guests = new Guests(xapi, cloudId, place);
    const devices = new Devices(xapi, this.networks);
    const storage = new Storage(xapi, cloudId, () => this.host.repository());
    const power = new Power(xapi, place);
    const disks = new LocalDisks(storage, guests, stateDir);
    const { host } = this;
    const making = new Making({ xapi, cloudId, place, guests, devices, storage, disks, power, host });
    const changing = new Changing(guests, devices, storage, disks, power, host, making, stateDir);
    const sending = new Sending(xapi, guests, devices);
    const migration = new Migration(xapi, guests, place, devices, storage, disks, power, making, sending, host);
    const adopting = new Adopting(xapi, guests, place, devices, storage);
    const observation = new Observation(xapi, place, devices);
    return { guests, devices, disks, power, making, changing, migration, sending, adopting, observation };
  }

  private ask<T>(doing: string, action: (all: Operations) => Promise<T>): Promise<T> {
    return this.wrap(doing, async () => action(await this.operations()));
  }

  /** One change at a time for each server. */
  private alone<T>(id: ServerId, doing: string, action: (all: Operations) => Promise<T>): Promise<T> {
    return this.oneAtATime.run(id, () => this.ask(doing, action));
  }

  /** A change of a guest that is here, and neither on its way nor gone. */
  private change(
    id: ServerId,
    doing: string,
    action: (all: Operations, guest: Guest) => Promise<unknown>,
  ): Promise<void> {
    return this.alone(id, doing, async (all) => {
      await action(all, await all.guests.settled(id));
    });
  }

  private async wrap<T>(doing: string, action: () => Promise<T>): Promise<T> {
    try {
      return await action();
    } catch (error) {
      throw fromXapi(error, doing);
    }
  }
}
