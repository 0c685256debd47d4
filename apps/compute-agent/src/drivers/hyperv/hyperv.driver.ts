import type { Milliseconds, ServerId } from '@omnivisor/contracts';
import { EventChannel } from '../common/event-channel.js';
import { KeyedMutex } from '../common/keyed-mutex.js';
import {
  type Adoption,
  type ConsoleKind,
  type ConsoleStream,
  type ConsoleTicket,
  type ConsoleTicketKind,
  type DiskExport,
  type DriverEvent,
  type FoundGuest,
  type GuestNic,
  type GuestSpec,
  type HostInventory,
  type HypervisorDriver,
  HypervisorError,
  type LiveMigration,
  type ProbeReport,
} from '../hypervisor-driver.js';
import { adopt, candidates, release } from './adoption.js';
import { type BuildOptions, build, type Plan, plan, refuseAborted, wipe } from './build.js';
import { Capacity } from './capacity.js';
import { attachDisk, attachNic, cutOffNic, detachDisk, detachNic, growDisk, plugAll } from './devices.js';
import { asFound, asFoundFile, type Guest, Guests, isOn } from './guests.js';
import { ImageSweep } from './image-sweep.js';
import { readIntegration } from './integration.js';
import { confirmResize, rebuild, refuseResize, rescue, resize, revertResize, unrescue } from './lifecycle.js';
import { isIncoming, isLeaving } from './mark-files.js';
import { MemberMarks } from './member-marks.js';
import { Members, type MemberTimes } from './members.js';
import { Migration } from './migration.js';
import { HyperVNode, type NodeOptions, type ReadyNode } from './node.js';
import { powerOf } from './operations/machines.js';
import { cutPower, refuseSilentConsole, shutDown, start } from './power.js';
import { probeNodes } from './probe.js';
import { EXPORT_FORMATS, exportDisk } from './snapshots.js';
import { readStatistics } from './statistics.js';
import { Watch } from './watch.js';

const NEVER = new AbortController().signal;
/** Port of the virtual machine connection service. */
const RDP_PORT = 2179;

export interface HyperVDriverOptions extends BuildOptions {
  /** One host, or the members of one failover cluster. */
  readonly nodes: readonly NodeOptions[];
  /** Memory of each host that guests do not get. */
  readonly reservedMemoryMib?: number;
  readonly memberTimes?: MemberTimes;
  /** Milliseconds that a migration may take to end once it was told to. */
  readonly migrationEndsWithin?: number;
  /** Milliseconds a guest gets to follow a soft reboot. */
  readonly softRebootPatience?: number;
}

/**
 * Hyper-V by its PowerShell cmdlets, through a script on the host. A guest is a virtual machine whose notes carry our mark;
 * where it is now is looked up each time, so one that the cluster moved is found again.
 */
export class HyperVDriver implements HypervisorDriver {
  readonly backend = 'hyperv';
  readonly imageFormats = ['vhdx', 'vhd'] as const;
  readonly physicalNetworks: readonly string[];

  readonly pausing = {
    pause: (id: ServerId) => this.setRunning(id, false),
    unpause: (id: ServerId) => this.setRunning(id, true),
  };
  readonly suspending = {
    suspend: (id: ServerId) => this.suspend(id),
    resume: (id: ServerId, nics: readonly GuestNic[]) => this.resume(id, nics),
  };
  readonly rebuilding = { rebuild: (spec: GuestSpec, signal: AbortSignal) => this.rebuild(spec, signal) };
  readonly rescuing = {
    rescue: (spec: GuestSpec, signal: AbortSignal) =>
      this.alone(spec.mark.serverId, () => this.images.around(() => rescue(this.guests, spec, this.options, signal))),
    unrescue: (id: ServerId, nics: readonly GuestNic[]) =>
      this.with(id, (guest) => unrescue(this.guests, guest, () => plugAll(guest, nics, this.options))),
  };
  readonly resizing = {
    checkResize: (id: ServerId, flavor: GuestSpec['flavor']) =>
      this.with(id, async (guest) => {
        await refuseResize(guest, flavor);
        await this.capacity.refuseBeyond(guest.on, flavor, guest);
      }),
    resize: (id: ServerId, flavor: GuestSpec['flavor'], signal: AbortSignal) =>
      this.with(id, async (guest) => {
        if (guest.mark.stage !== 'resized') await this.capacity.refuseBeyond(guest.on, flavor, guest);
        await resize(this.guests, guest, flavor, this.options, signal);
      }),
    confirmResize: (id: ServerId) => this.with(id, (guest) => confirmResize(this.guests, guest)),
    revertResize: (id: ServerId) => this.with(id, (guest) => revertResize(this.guests, guest, this.options)),
  };
  readonly crashDumps = {
    trigger: (id: ServerId) =>
      this.with(id, async (guest) => {
        if (powerOf(guest.vm.State) !== 'running') throw new HypervisorError('fault', 'the guest does not run');
        await guest.on.machines.interrupt(guest.vm.Id);
      }),
  };
  readonly snapshots = {
    formats: EXPORT_FORMATS,
    exportDisk: (
      ...[id, disk, format, signal]: Parameters<NonNullable<HypervisorDriver['snapshots']>['exportDisk']>
    ): Promise<DiskExport> => this.with(id, (guest) => exportDisk(guest, disk, format, signal)),
  };
  readonly disks: NonNullable<HypervisorDriver['disks']> = {
    attach: (id, disk) => this.with(id, (guest) => attachDisk(this.guests, guest, disk)),
    detach: (id, diskId) => this.with(id, (guest) => detachDisk(this.guests, guest, diskId)),
  };
  readonly diskGrowing: NonNullable<HypervisorDriver['diskGrowing']> = {
    grow: (id, diskId, size) => this.with(id, (guest) => growDisk(guest, diskId, size)),
  };
  readonly nics: NonNullable<HypervisorDriver['nics']> = {
    attach: (id, nic) => this.with(id, (guest) => attachNic(this.guests, guest, nic, this.options)),
    cutOff: (id, portId) => this.with(id, (guest) => cutOffNic(guest, portId)),
    detach: (id, portId) => this.with(id, (guest) => detachNic(this.guests, guest, portId)),
  };
  readonly adoption: Adoption = {
    candidates: () => this.words(() => candidates(this.members)),
    adopt: (nativeId, mark, nics) =>
      this.alone(mark.serverId, () => adopt(this.members, this.guests, this.marks, nativeId, mark, nics, this.options)),
    release: (id) => this.alone(id, () => release(this.guests, this.marks, id)),
  };
  readonly consoleTickets = {
    kinds: new Set<ConsoleTicketKind>(['rdp']),
    open: (id: ServerId, kind: ConsoleTicketKind) => this.ticket(id, kind),
  };
  readonly statistics = { read: (id: ServerId) => this.reading(id, readStatistics) };
  /** These two are absent once the probe has found that the account may not open serial ports. */
  consoleLog?: NonNullable<HypervisorDriver['consoleLog']> = this.serialLog();
  consoles?: NonNullable<HypervisorDriver['consoles']> = this.serialConsoles();
  /** Absent once the probe has found that guests are not asked. */
  guestIntegration?: NonNullable<HypervisorDriver['guestIntegration']> = this.integration();
  /** Absent once the probe has found that this host may not send guests to others, and where several are one host. */
  liveMigration?: LiveMigration;

  private readonly nodes: readonly HyperVNode[];
  private readonly members: Members;
  private readonly marks: MemberMarks;
  private readonly guests: Guests;
  private readonly capacity: Capacity;
  private readonly watch: Watch;
  private readonly oneAtATime = new KeyedMutex<ServerId>();
  private readonly channel = new EventChannel();
  private readonly building = new Set<ServerId>();
  private readonly images = new ImageSweep();

  constructor(private readonly options: HyperVDriverOptions) {
    this.physicalNetworks = Object.keys(options.switches);
    this.nodes = options.nodes.map((node) => new HyperVNode(node, (on) => this.opened(on)));
    this.members = new Members(this.nodes, options.memberTimes);
    this.marks = new MemberMarks(this.members);
    this.guests = new Guests(this.members, this.marks, options.cloudId);
    this.capacity = new Capacity(this.members, this.guests, options.reservedMemoryMib ?? 2048);
    this.watch = new Watch(this.nodes, this.guests, this.channel);
    // Members of a cluster are one host here: what moves between them is the cluster's to decide.
    if (this.nodes.length === 1) this.liveMigration = this.migrating();
  }

  async probe(signal: AbortSignal): Promise<ProbeReport> {
    const { report, liveMigration, guestIntegration, serialPorts } = await probeNodes(
      this.nodes,
      Object.values(this.options.switches),
      this.options.generation,
      signal,
    );
    if (liveMigration && this.nodes.length === 1) this.liveMigration ??= this.migrating();
    else if (report.health === 'healthy') delete this.liveMigration;
    if (guestIntegration) this.guestIntegration ??= this.integration();
    else if (report.health === 'healthy') delete this.guestIntegration;
    if (serialPorts) {
      this.consoleLog ??= this.serialLog();
      this.consoles ??= this.serialConsoles();
    } else if (report.health === 'healthy') {
      delete this.consoleLog;
      delete this.consoles;
    }
    return report;
  }

  check(): Promise<void> {
    return this.words(() => this.members.check());
  }

  inventory(): Promise<HostInventory> {
    return this.words(() => this.capacity.inventory());
  }

  list(): Promise<FoundGuest[]> {
    return this.words(async () => {
      const [{ guests, silent }, files] = await Promise.all([this.guests.all(), this.marks.all()]);
      const found = await Promise.all(
        guests
          .filter((guest) => !this.building.has(guest.mark.serverId))
          .map((guest) => asFound(guest, files.get(guest.mark.serverId)?.file)),
      );
      const withMachine = new Set(guests.map((guest) => guest.mark.serverId));
      for (const [id, { marks, file }] of files) {
        if (withMachine.has(id) || this.building.has(id)) continue;
        const mayBeElsewhere =
          silent.length > 0 || (file === 'settled' && this.guests.lookedForInVain(id) === 'maybe moving');
        const without = await asFoundFile(marks, id, file, this.options.cloudId, mayBeElsewhere);
        if (without) found.push(without);
      }
      return found;
    });
  }

  inspect(id: ServerId): Promise<FoundGuest> {
    return this.words(async () => {
      const guest = this.building.has(id) ? null : await this.guests.find(id);
      if (guest) return asFound(guest, (await guest.on.marks.stageOf(id)) ?? undefined);
      const known = (await this.marks.all()).get(id);
      const found =
        known && !this.building.has(id) && (await asFoundFile(known.marks, id, known.file, this.options.cloudId));
      if (!found) throw new HypervisorError('serverNotOnHost', `server ${id} is not on this host`);
      return found;
    });
  }

  events(signal: AbortSignal): AsyncIterable<DriverEvent> {
    void this.watch.start();
    return this.channel.subscribe(signal);
  }

  spawn(spec: GuestSpec, signal: AbortSignal): Promise<void> {
    const { serverId: id } = spec.mark;
    return this.alone(id, async () => {
      if (await this.isThere(spec)) return;
      refuseAborted(signal);
      const planned = plan(spec, this.options);
      const on = await this.capacity.roomiest();
      await this.capacity.refuseBeyond(on, { ...spec.flavor, disk: spec.disks.root.size }, null);
      this.building.add(id);
      try {
        await this.images.around(() => this.make(on, planned, signal));
      } catch (error) {
        await wipe(on, this.guests, id);
        throw error;
      } finally {
        this.building.delete(id);
      }
    });
  }

  destroy(id: ServerId): Promise<void> {
    return this.alone(id, async () => {
      const guest = await this.guests.find(id);
      const known = (await this.marks.all()).get(id);
      if (known && !(await known.marks.read(id, known.file, this.options.cloudId))) return;
      const on = guest?.on ?? known?.on;
      if (!on) return;
      await wipe(on, this.guests, id);
      // A cluster may have moved it away from where it was made.
      await this.marks.remove(id);
      await this.images.soon(this.members);
    });
  }

  powerOn(id: ServerId, nics: readonly GuestNic[], signal: AbortSignal = NEVER): Promise<void> {
    return this.with(id, (guest) => {
      refuseAborted(signal);
      return this.turnOn(guest, nics);
    });
  }

  powerOff(id: ServerId, grace: Milliseconds, signal: AbortSignal = NEVER): Promise<void> {
    return this.with(id, async (guest) => {
      refuseAborted(signal);
      if (powerOf(guest.vm.State) === 'running' && grace > 0) await shutDown(guest, grace, signal);
      await cutPower(guest);
    });
  }

  reboot(id: ServerId, kind: 'soft' | 'hard', nics: readonly GuestNic[], signal: AbortSignal = NEVER): Promise<void> {
    return this.with(id, async (guest) => {
      refuseAborted(signal);
      const patience = this.options.softRebootPatience ?? 60_000;
      if (kind === 'soft' && powerOf(guest.vm.State) === 'running') await shutDown(guest, patience, signal);
      await cutPower(guest);
      await this.turnOn(await this.guests.get(id), nics);
    });
  }

  async close(): Promise<void> {
    this.channel.close();
    for (const node of this.nodes) node.close();
  }

  private async make(on: ReadyNode, planned: Plan, signal: AbortSignal): Promise<void> {
    const guest = await build(on, this.guests, planned, this.options, signal);
    if (planned.spec.powerOn) await start(guest);
    refuseAborted(signal);
    await this.settle(guest);
  }

  private async settle(guest: Guest): Promise<void> {
    await this.guests.write(guest, { ...guest.mark, stage: 'settled' });
    await guest.on.marks.move(guest.mark.serverId, 'building', 'settled');
  }

  /** True when this very guest is there and whole. Clears away what a spawn left behind that was cut off. */
  private async isThere({ mark }: GuestSpec): Promise<boolean> {
    const { serverId: id } = mark;
    const guest = await this.guests.find(id);
    const known = (await this.marks.all()).get(id);
    if (guest) {
      if (guest.mark.attempt !== mark.attempt)
        throw new HypervisorError('fault', `another attempt of server ${id} is on this host`);
      if (guest.mark.build !== mark.build)
        throw new HypervisorError('fault', `another build of server ${id} is on this host`);
      if (guest.mark.stage !== 'building') return true;
      // Its start was the last step, and the agent ended after it.
      if (isOn(guest)) {
        await this.settle(guest);
        return true;
      }
      await wipe(guest.on, this.guests, id);
      return false;
    }
    const { told } = await this.members.ask((on) => this.isInTheWay(on, id, known?.file));
    if (told.includes(true))
      throw new HypervisorError('fault', `a guest that is not ours has the place of server ${id}`);
    if (known?.on && (known.file === 'building' || known.file === 'settled')) await wipe(known.on, this.guests, id);
    else if (known) throw new HypervisorError('fault', `server ${id} is on its way to or from this host`);
    return false;
  }

  private async isInTheWay(on: ReadyNode, id: ServerId, file: string | undefined): Promise<boolean> {
    const machines = await on.machines.named(id);
    const halfMade = file === 'building' ? await this.guests.halfMade(on, id) : [];
    const folder = file === undefined && (await on.files.items(on.paths.guest(id))).length > 0;
    return machines.length > halfMade.length || folder;
  }

  private async turnOn(guest: Guest, nics: readonly GuestNic[]): Promise<void> {
    const { on, vm } = guest;
    const power = powerOf(vm.State);
    if (power === 'running') return;
    if (power === 'suspended') throw new HypervisorError('fault', 'a suspended guest is resumed, not switched on');
    if (power === 'paused') return on.machines.unpause(vm.Id);
    await plugAll(guest, nics, this.options);
    await start(guest);
  }

  private setRunning(id: ServerId, run: boolean): Promise<void> {
    return this.with(id, async ({ on, vm }) => {
      const power = powerOf(vm.State);
      if (power !== 'running' && power !== 'paused')
        throw new HypervisorError('fault', `cannot ${run ? 'unpause' : 'pause'} a guest that is ${power}`);
      if ((power === 'running') === run) return;
      await (run ? on.machines.unpause(vm.Id) : on.machines.pause(vm.Id));
    });
  }

  private suspend(id: ServerId): Promise<void> {
    return this.with(id, async ({ on, vm }) => {
      const power = powerOf(vm.State);
      if (power === 'suspended') return;
      if (power !== 'running' && power !== 'paused')
        throw new HypervisorError('fault', `cannot suspend a guest that is ${power}`);
      await on.machines.save(vm.Id);
    });
  }

  private resume(id: ServerId, nics: readonly GuestNic[]): Promise<void> {
    return this.with(id, async (guest) => {
      const power = powerOf(guest.vm.State);
      if (power === 'running') return;
      if (power === 'paused') return guest.on.machines.unpause(guest.vm.Id);
      if (power !== 'suspended') throw new HypervisorError('fault', `cannot resume a guest that is ${power}`);
      await plugAll(guest, nics, this.options);
      await start(guest);
    });
  }

  private rebuild(spec: GuestSpec, signal: AbortSignal): Promise<void> {
    return this.alone(spec.mark.serverId, () =>
      this.images.around(() =>
        rebuild(this.guests, spec, this.options, signal, (guest, nics) => plugAll(guest, nics, this.options)),
      ),
    );
  }

  private serialLog(): NonNullable<HypervisorDriver['consoleLog']> {
    return { tail: (id, maxBytes) => this.tail(id, maxBytes) };
  }

  private serialConsoles(): NonNullable<HypervisorDriver['consoles']> {
    return { kinds: new Set<ConsoleKind>(['serial']), open: (id, kind) => this.openConsole(id, kind) };
  }

  private integration(): NonNullable<HypervisorDriver['guestIntegration']> {
    return { read: (id) => this.reading(id, readIntegration) };
  }

  private migrating(): LiveMigration {
    const migration = new Migration(this.nodes, this.guests, this.options);
    return {
      kinds: new Set(['copied'] as const),
      reach: () => this.words(() => migration.reach()),
      offer: (id) => this.with(id, (guest) => migration.offer(guest)),
      receive: (spec, offer, options, signal) =>
        this.alone(spec.mark.serverId, async () => {
          const on = await this.nodes[0]!.ready();
          await this.capacity.refuseBeyond(on, { ...spec.flavor, disk: spec.disks.root.size }, null);
          return this.images.around(() => migration.receive(spec, offer, options, signal));
        }),
      send: (id, ticket, options) => this.alone(id, () => migration.send(id, ticket, options)),
      accept: (id) => this.alone(id, () => migration.accept(id)),
      cancel: (id) => this.alone(id, () => migration.cancel(id)),
      recover: (id) => this.alone(id, () => migration.recover(id)),
    };
  }

  private tail(id: ServerId, maxBytes: number): Promise<Buffer> {
    return this.reading(id, async ({ on }) => {
      const log = await on.files.read(on.paths.consoleLog(id), -maxBytes, maxBytes);
      return log?.bytes ?? Buffer.alloc(0);
    });
  }

  private openConsole(id: ServerId, kind: ConsoleKind): Promise<ConsoleStream> {
    return this.reading(id, async (guest) => {
      if (kind !== 'serial') throw new HypervisorError('unsupported', `Hyper-V has no ${kind} console`);
      if (!isOn(guest)) throw new HypervisorError('unavailable', 'the guest is off');
      await refuseSilentConsole(guest);
      return guest.on.node.relay.stream(guest.vm.Id);
    });
  }

  private ticket(id: ServerId, kind: ConsoleTicketKind): Promise<ConsoleTicket> {
    return this.reading(id, async (guest) => {
      if (kind !== 'rdp') throw new HypervisorError('unsupported', `Hyper-V has no ${kind} console`);
      if (!isOn(guest)) throw new HypervisorError('unavailable', 'the guest is off');
      const host = guest.on.node.options.consoleHost ?? guest.on.facts.ComputerName;
      return { kind, host, port: RDP_PORT, accessPath: guest.vm.Id, thumbprint: null };
    });
  }

  /** Members of a cluster are found by each other. */
  private async opened(on: ReadyNode): Promise<void> {
    if (this.members.areCluster) await this.marks.introduce(on, await this.guests.on(on));
  }

  /** Changes a guest: one change at a time for each server. */
  private with<T>(id: ServerId, action: (guest: Guest) => Promise<T>): Promise<T> {
    return this.alone(id, async () => {
      const guest = (await this.guests.find(id)) ?? (await this.refuseAbsent(id));
      if (guest.mark.stage === 'building') throw new HypervisorError('fault', 'the guest is half made');
      return action(guest);
    });
  }

  private async refuseAbsent(id: ServerId): Promise<never> {
    const file = (await this.marks.all()).get(id)?.file;
    if (isIncoming(file) || isLeaving(file))
      throw new HypervisorError('fault', 'the guest is on its way to or from another host');
    throw new HypervisorError('serverNotOnHost', `server ${id} is not on this host`);
  }

  private reading<T>(id: ServerId, action: (guest: Guest) => Promise<T>): Promise<T> {
    return this.words(async () => action(await this.guests.get(id)));
  }

  private alone<T>(id: ServerId, action: () => Promise<T>): Promise<T> {
    return this.oneAtATime.run(id, () => this.words(action));
  }

  /** Nothing is thrown but `HypervisorError`. */
  private async words<T>(action: () => Promise<T>): Promise<T> {
    try {
      return await action();
    } catch (error) {
      if (error instanceof HypervisorError) throw error;
      throw new HypervisorError('fault', 'driving Hyper-V failed', String(error), { cause: error });
    }
  }
}
