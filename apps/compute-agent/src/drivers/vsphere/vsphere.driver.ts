import { setTimeout as sleep } from 'node:timers/promises';
import type { FlavorSnapshot, Milliseconds, ServerId } from '@omnivisor/contracts';
import { EventChannel } from '../common/event-channel.js';
import { KeyedMutex } from '../common/keyed-mutex.js';
import {
  type ConsoleTicketKind,
  type DiskExport,
  type DiskFormat,
  type DriverEvent,
  type FoundGuest,
  type GuestDisk,
  type GuestNic,
  type GuestSpec,
  type HostInventory,
  type HypervisorDriver,
  HypervisorError,
  type Maintenance,
  type ProbeReport,
  type Survey,
} from '../hypervisor-driver.js';
import { Adopting } from './operations/adoption.js';
import { Changing } from './operations/changing.js';
import { Consoles } from './operations/consoles.js';
import { type Guest, Guests } from './operations/guests.js';
import { Host, type HostSettings } from './operations/host.js';
import { Images } from './operations/images.js';
import { LocalDisks } from './operations/local-disks.js';
import { Making } from './operations/making.js';
import { Migration } from './operations/migration.js';
import { type NetworkSettings, Networks } from './operations/networks.js';
import { Observation } from './operations/observation.js';
import { Performance } from './operations/performance.js';
import { Plugging } from './operations/plugging.js';
import { Policies } from './operations/policies.js';
import { Power } from './operations/power.js';
import { NOTHING_KNOWN, Probe } from './operations/probe.js';
import { Snapshots } from './operations/snapshots.js';
import { Watch } from './operations/watch.js';
import { DatastoreFiles } from './transport/datastore.js';
import { PropertyReader } from './transport/properties.js';
import { Updates } from './transport/updates.js';
import { fromVim } from './transport/vim-fault.js';
import { type VimAccess, VimSession } from './transport/vim-session.js';

export interface VsphereOptions extends HostSettings, NetworkSettings {
  readonly cloudId: string;
  readonly access: VimAccess;
  /** Folder of this machine where disks are packed before they go up. */
  readonly stateDir: string;
  /** Milliseconds a guest gets to follow a soft reboot. */
  readonly softRebootPatience?: number;
  /** Milliseconds between two looks at how much guests have said on their consoles; two minutes when not given. */
  readonly consoleLook?: number;
}

const CHECK_LIMIT = 5_000;
const CONSOLE_LOOK = 120_000;

/** All that is done by way of one session, once the place is known. */
interface Operations {
  readonly guests: Guests;
  readonly power: Power;
  readonly making: Making;
  readonly changing: Changing;
  readonly snapshots: Snapshots;
  readonly plugging: Plugging;
  readonly migration: Migration;
  readonly adopting: Adopting;
  readonly observation: Observation;
  readonly consoles: Consoles;
}

/**
 * A vCenter, or a single ESXi host, driven by its SOAP API: a cluster is the host, or one of its members is. All that is
 * known of a guest lies in its VM, so any later driver object finds it again, and a VM that moves takes it along.
 */
export class VsphereDriver implements HypervisorDriver {
  readonly backend = 'vsphere';
  readonly imageFormats: readonly DiskFormat[] = ['vmdk', 'raw'];
  readonly physicalNetworks: readonly string[];

  readonly suspending = {
    suspend: (id: ServerId) => this.change(id, 'suspending the guest', ({ power }, { vm }) => power.suspend(vm.ref)),
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
  readonly crashDumps = {
    trigger: (id: ServerId) =>
      this.change(id, 'interrupting the guest', ({ power }, { vm }) => power.interrupt(vm.ref)),
  };
  readonly snapshots = {
    formats: ['vmdk'] as const,
    exportDisk: (id: ServerId, disk: 'root' | 'ephemeral', format: DiskFormat, signal: AbortSignal) =>
      this.exportDisk(id, disk, format, signal),
  };
  readonly disks = {
    attach: (id: ServerId, disk: GuestDisk) =>
      this.change(id, 'attaching the disk', ({ plugging }, guest) => plugging.attachDisk(guest, disk)),
    detach: (id: ServerId, diskId: string) =>
      this.change(id, 'detaching the disk', ({ plugging }, guest) => plugging.detachDisk(guest, diskId)),
  };
  readonly diskGrowing = {
    grow: (id: ServerId, diskId: string, size: number) =>
      this.change(id, 'growing the disk', ({ plugging }, guest) => plugging.growDisk(guest, diskId, size)),
  };
  readonly nics = {
    attach: (id: ServerId, nic: GuestNic) =>
      this.change(id, 'attaching the network interface', ({ plugging }, guest) => plugging.attachNic(guest, nic)),
    cutOff: (id: ServerId, portId: string) =>
      this.change(id, 'cutting the network interface off', ({ plugging }, guest) => plugging.cutOffNic(guest, portId)),
    detach: (id: ServerId, portId: string) =>
      this.change(id, 'detaching the network interface', ({ plugging }, guest) => plugging.detachNic(guest, portId)),
  };
  readonly liveMigration: NonNullable<HypervisorDriver['liveMigration']> = {
    reach: () => this.ask('looking at the datastores', ({ migration }) => migration.reach()),
    offer: (id) =>
      this.ask('offering the guest', async ({ guests, migration }) => migration.offer(await guests.settled(id))),
    // Disks stay where they are, whatever is asked for: the other member has to see them.
    receive: (spec, offer, _options, signal) =>
      this.alone(spec.mark.serverId, 'letting the guest in', ({ migration }) => migration.receive(spec, offer, signal)),
    send: (id, ticket, options) =>
      this.alone(id, 'sending the guest', async ({ guests, migration }) =>
        migration.send(await guests.get(id), ticket, options),
      ),
    accept: (id) =>
      this.alone(id, 'accepting the guest', async ({ guests, migration }) => migration.accept(await guests.get(id))),
    cancel: (id) =>
      this.alone(id, 'keeping the guest out', async ({ guests, migration }) => migration.cancel(await guests.find(id))),
    recover: (id) =>
      this.alone(id, 'recovering the guest', async ({ guests, migration }) => migration.recover(await guests.get(id))),
  };
  readonly adoption: NonNullable<HypervisorDriver['adoption']> = {
    candidates: () => this.ask('looking for guests', ({ adopting }) => adopting.candidates()),
    adopt: (nativeId, mark, nics) =>
      this.alone(mark.serverId, 'adopting the guest', async ({ adopting, guests }) =>
        guests.view(await adopting.adopt(nativeId, mark, nics)),
      ),
    release: (id) =>
      this.alone(id, 'releasing the guest', async ({ adopting, guests }) => adopting.release(await guests.find(id))),
  };
  /** Where one member is the host; a whole cluster has nowhere to go. */
  readonly maintenance?: Maintenance;
  readonly consoleLog = {
    tail: (id: ServerId, maxBytes: number) =>
      this.ask('reading the console log', async ({ guests, consoles }) =>
        consoles.tail(await guests.settled(id), maxBytes),
      ),
  };
  readonly consoleTickets = {
    kinds: new Set<ConsoleTicketKind>(['mks']),
    open: (id: ServerId, kind: ConsoleTicketKind) =>
      this.ask('opening the console', async ({ guests, observation }) =>
        observation.consoleTicket(await guests.settled(id), kind),
      ),
  };
  readonly guestIntegration = {
    read: (id: ServerId) =>
      this.ask('asking for what the guest tells', async ({ guests, observation }) =>
        observation.integration(await guests.settled(id)),
      ),
  };
  readonly statistics = {
    read: (id: ServerId) =>
      this.ask('reading the statistics', async ({ guests, observation }) =>
        observation.statistics(await guests.settled(id)),
      ),
  };

  private readonly session: VimSession;
  private readonly read: PropertyReader;
  private readonly updates: Updates;
  private readonly host: Host;
  private readonly oneAtATime = new KeyedMutex<ServerId>();
  private readonly channel = new EventChannel();
  private readonly closing = new AbortController();
  private opening: Promise<Operations> | null = null;
  private watching: Promise<unknown> | null = null;

  constructor(private readonly options: VsphereOptions) {
    this.physicalNetworks = Object.keys(options.physicalNetworks);
    this.session = new VimSession(options.access);
    this.read = new PropertyReader(this.session);
    this.updates = new Updates(this.session, this.read);
    this.host = new Host(this.session, this.read, this.updates, options);
    if (options.member !== null)
      this.maintenance = {
        enter: (signal) => this.wrap('emptying the host', () => this.host.enterMaintenance(signal)),
        leave: () => this.wrap('taking the host back', () => this.host.leaveMaintenance()),
      };
  }

  async probe(signal: AbortSignal): Promise<ProbeReport> {
    if (this.options.access.url === null)
      return { ...NOTHING_KNOWN, health: 'undetected', reason: 'no address of a vCenter is configured' };
    return new Probe(this.session, this.read, this.updates, this.host).run(signal);
  }

  check(): Promise<void> {
    return this.wrap('asking the vCenter', async () => {
      const late = sleep(CHECK_LIMIT, 'late' as const, { ref: false });
      if ((await Promise.race([this.host.check(), late])) === 'late')
        throw new HypervisorError('unavailable', 'the vCenter does not answer in time');
    });
  }

  survey(): Promise<Survey> {
    return this.wrap('looking at the vCenter', () =>
      new Probe(this.session, this.read, this.updates, this.host).survey(),
    );
  }

  inventory(): Promise<HostInventory> {
    return this.wrap('counting what the host has', () => this.host.inventory());
  }

  list(): Promise<FoundGuest[]> {
    return this.ask('listing guests', async ({ guests }) => (await guests.all()).map((guest) => guests.view(guest)));
  }

  inspect(id: ServerId): Promise<FoundGuest> {
    return this.ask('looking at the guest', async ({ guests }) => guests.view(await guests.get(id)));
  }

  events(signal: AbortSignal): AsyncIterable<DriverEvent> {
    const events = this.channel.subscribe(signal);
    this.watching ??= Promise.all([this.watch(), this.boundConsoles()]);
    return events;
  }

  spawn(spec: GuestSpec, signal: AbortSignal): Promise<void> {
    return this.alone(spec.mark.serverId, 'spawning the guest', ({ making }) => making.spawn(spec, signal));
  }

  destroy(id: ServerId, attempt?: number): Promise<void> {
    return this.alone(id, 'removing the guest', async ({ guests, making, migration }) => {
      const guest = await (attempt === undefined ? guests.find(id) : guests.ofAttempt(id, attempt));
      const stage = guest && guests.view(guest).stage;
      if (guest && stage === 'moved') return migration.forget(guest);
      // It runs elsewhere still; here it is expected only.
      if (guest && stage === 'incoming' && !migration.hasCome(guest)) return migration.cancel(guest);
      await making.discard(id, guest);
    });
  }

  powerOn(id: ServerId, nics: readonly GuestNic[], signal?: AbortSignal): Promise<void> {
    return this.change(id, 'starting the guest', ({ making }, guest) => making.start(guest, nics, signal));
  }

  powerOff(id: ServerId, grace: Milliseconds, signal?: AbortSignal): Promise<void> {
    return this.change(id, 'stopping the guest', async ({ power, making }, guest) => {
      await making.settle(guest);
      await power.off(guest.vm.ref, grace, signal);
    });
  }

  reboot(id: ServerId, kind: 'soft' | 'hard', nics: readonly GuestNic[], signal?: AbortSignal): Promise<void> {
    return this.change(id, 'rebooting the guest', async ({ power, making }, guest) => {
      const grace = kind === 'soft' ? (this.options.softRebootPatience ?? 60_000) : 0;
      await power.off(guest.vm.ref, grace, signal);
      await making.start(guest, nics, signal);
    });
  }

  async close(): Promise<void> {
    this.closing.abort();
    this.channel.close();
    await this.session.close();
    await this.updates.close();
    await this.watching;
  }

  private async exportDisk(
    id: ServerId,
    disk: 'root' | 'ephemeral',
    format: DiskFormat,
    signal: AbortSignal,
  ): Promise<DiskExport> {
    if (format !== 'vmdk')
      throw new HypervisorError('unsupported', `this host does not write disks of format ${format}`);
    const { snapshots, taken } = await this.alone(id, 'taking the snapshot', async (all) => ({
      snapshots: all.snapshots,
      taken: await all.snapshots.take(await all.guests.settled(id), disk, signal),
    }));
    return snapshots.export(taken, signal);
  }

  /** Tells of changes to our guests until the driver is closed. */
  private async watch(): Promise<void> {
    while (!this.closing.signal.aborted)
      try {
        const { guests } = await this.operations();
        const watch = new Watch(guests, (id) => this.channel.publish(id));
        watch.start(this.updates);
        return;
      } catch {
        // Whoever asks next is told; what was missed meanwhile is told with the first updates.
        await sleep(1_000, undefined, { signal: this.closing.signal }).catch(() => undefined);
      }
  }

  private async boundConsoles(): Promise<void> {
    const { signal } = this.closing;
    const pause = () => sleep(this.options.consoleLook ?? CONSOLE_LOOK, undefined, { signal }).catch(() => undefined);
    const alone = (id: ServerId, close: () => Promise<void>) =>
      this.alone(id, 'closing the console log', async () => {
        if (!signal.aborted) await close();
      });
    for (await pause(); !signal.aborted; await pause())
      // Whoever asks for something else is told what is wrong.
      await this.ask('looking at the consoles', ({ consoles }) => consoles.bound(alone)).catch(() => undefined);
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
    const { session, read, updates, host } = this;
    const files = new DatastoreFiles(session, place.datacenter.path);
    const guests = new Guests(read, updates, cloudId, place);
    const images = new Images(session, read, updates, guests, host, stateDir);
    const disks = new LocalDisks(session, read, updates, guests, images, files);
    const networks = new Networks(read, updates, place, this.options);
    const power = new Power(session, read, updates, place);
    const policies = new Policies(session);
    const consoles = new Consoles(updates, guests, files, disks);
    const making = new Making({ read, updates, cloudId, guests, networks, disks, policies, power, host, consoles });
    const snapshots = new Snapshots(session, read, updates, disks);
    const changing = new Changing(read, guests, disks, snapshots, power, host, making);
    const plugging = new Plugging(guests, disks, snapshots, files, making, networks);
    const migration = new Migration(read, updates, guests, host, power, making);
    const adopting = new Adopting(read, updates, guests, networks);
    const observation = new Observation(session, read, new Performance(session, read));
    return { guests, power, making, changing, snapshots, plugging, migration, adopting, observation, consoles };
  }

  private ask<T>(doing: string, action: (all: Operations) => T | Promise<T>): Promise<T> {
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
      throw fromVim(error, doing);
    }
  }
}
