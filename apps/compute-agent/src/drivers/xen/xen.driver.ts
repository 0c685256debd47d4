import type { FlavorSnapshot, Milliseconds, ServerId } from '@omnivisor/contracts';
import { EventChannel } from '../common/event-channel.js';
import { KeyedMutex } from '../common/keyed-mutex.js';
import { MIGRATION_SILENCE } from '../common/migration/relay.js';
import { asHypervisorError } from '../common/native-command.js';
import {
  type ConsoleKind,
  type ConsoleLog,
  type ConsoleStream,
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
import { type Definition, type DomainType, type Nic, sharedFolderOf } from './definition.js';
import { attachDisk, attachNic, cutOffNic, detachDisk, detachNic, growDisk, pathOf } from './devices.js';
import { makeDisks, refuseAborted } from './disks.js';
import { asFound, type Guest, Guests, isOn } from './guests.js';
import { type Capabilities, domainTypeFor, nicFor } from './hardware.js';
import { Host, type HostShell, LIMITS } from './host-shell.js';
import {
  confirmResize,
  type Plan,
  rebuild,
  refuseResize,
  rescue,
  resize,
  revertResize,
  unrescue,
} from './lifecycle.js';
import { Migration } from './migration.js';
import { exportDisk, openConsole, readStatistics, tailConsole } from './observation.js';
import { resumeGuest, shutDown, startGuest, stopGuest } from './power.js';
import { parseFacts, probe } from './probe.js';
import { BEGIN, CHECK, FACTS, INFO, REMOVE, SET_RUNNING, SUSPEND } from './scripts.js';
import { watchGuests } from './watch.js';
import { parseInfo } from './xl-output.js';

const NEVER = new AbortController().signal;
/** Milliseconds until the host counts as not answering, and seconds until what it runs meanwhile is ended. */
const CHECK_LIMITS = { answer: 4_000, hung: 10 };
const SAVE_LIMIT = 3_600_000;
const KIB_OF_GIB = 1024 ** 2;

export interface XenDriverOptions {
  readonly cloudId: string;
  readonly shell: HostShell;
  /** Folder of guests and images in dom0. */
  readonly root: string;
  /** Of a guest whose image does not say. */
  readonly type: DomainType;
  /** Physical network to bridge of dom0. */
  readonly bridges: Readonly<Record<string, string>>;
  /** MiB beside dom0's own that guests do not get. */
  readonly reservedMemoryMib?: number;
  /** Folder in dom0 for the disks of guests, on storage that other hosts have in the same place. */
  readonly sharedDisks?: string;
  /** Address where other hosts reach the agent to send it guests; without it they come from agents of its machine only. */
  readonly migrationAddress?: string;
  /** Milliseconds a guest gets to follow a soft reboot. */
  readonly softRebootPatience?: number;
  /** Milliseconds for which the way of a guest that moves may carry nothing, before it counts as cut. */
  readonly migrationSilence?: number;
  /** Milliseconds until a call that does not wait for a guest counts as not answered. */
  readonly answerTimeout?: number;
  /** Times as long as usual that the host may take to answer; 1 unless told. */
  readonly patience?: number;
}

/** One that waits for its memory, or was sent to another host, is nothing to be changed here. */
const refuseElsewhere = ({ definition: { stage } }: Guest): void => {
  if (stage === 'moved') throw new HypervisorError('fault', 'the guest has moved to another host');
  if (stage === 'incoming') throw new HypervisorError('fault', 'the guest is on its way to this host');
};

/**
 * Xen by its own toolstack `xl`, in dom0 or by ssh. A domain lasts as long as it runs, so what a guest is lies in a folder
 * of dom0; its domain has the server's id as name and UUID.
 */
export class XenDriver implements HypervisorDriver {
  readonly backend = 'xen';
  readonly imageFormats = ['raw'] as const;
  readonly physicalNetworks: readonly string[];

  readonly pausing = {
    pause: (id: ServerId) => this.setRunning(id, false),
    unpause: (id: ServerId) => this.setRunning(id, true),
  };
  readonly suspending = {
    suspend: (id: ServerId) => this.suspend(id),
    resume: (id: ServerId, nics: readonly GuestNic[]) => this.resume(id, nics),
  };
  readonly rebuilding = {
    rebuild: (spec: GuestSpec, signal: AbortSignal) =>
      this.alone(spec.mark.serverId, async () => rebuild(this.guests, await this.plan(spec), signal)),
  };
  readonly rescuing = {
    rescue: (spec: GuestSpec, signal: AbortSignal) =>
      this.alone(spec.mark.serverId, async () => rescue(this.guests, await this.plan(spec), signal)),
    unrescue: (id: ServerId, nics: readonly GuestNic[]) =>
      this.with(id, (guest) => unrescue(this.guests, guest, this.wired(nics))),
  };
  readonly resizing = {
    checkResize: (id: ServerId, flavor: FlavorSnapshot) =>
      this.with(id, (guest) => refuseResize(this.guests, guest, flavor, () => this.refuseBeyondHost(flavor))),
    resize: (id: ServerId, flavor: FlavorSnapshot, signal: AbortSignal) =>
      this.with(id, (guest) => {
        refuseAborted(signal);
        return resize(this.guests, guest, flavor, () => this.refuseBeyondHost(flavor), signal);
      }),
    confirmResize: (id: ServerId) => this.with(id, (guest) => confirmResize(this.guests, guest)),
    revertResize: (id: ServerId) => this.with(id, (guest) => revertResize(this.guests, guest)),
  };
  readonly snapshots: NonNullable<HypervisorDriver['snapshots']> = {
    formats: ['raw'],
    exportDisk: (id, disk, format, signal) =>
      this.with(id, (guest) => exportDisk(this.guests, guest, disk, format, signal)),
  };
  readonly disks: NonNullable<HypervisorDriver['disks']> = {
    attach: (id, disk) => this.with(id, (guest) => attachDisk(this.guests, guest, disk)),
    detach: (id, diskId) => this.with(id, (guest) => detachDisk(this.guests, guest, diskId)),
  };
  readonly diskGrowing: NonNullable<HypervisorDriver['diskGrowing']> = {
    grow: (id, diskId, size) => this.with(id, (guest) => growDisk(this.guests, guest, diskId, size)),
  };
  readonly nics: NonNullable<HypervisorDriver['nics']> = {
    attach: (id, nic) => this.with(id, async (guest) => attachNic(this.guests, guest, (await this.plugged([nic]))[0]!)),
    cutOff: (id, portId) => this.with(id, (guest) => cutOffNic(this.guests, guest, portId)),
    detach: (id, portId) => this.with(id, (guest) => detachNic(this.guests, guest, portId)),
  };
  readonly adoption: NonNullable<HypervisorDriver['adoption']> = {
    candidates: () => this.words(() => candidates(this.guests)),
    adopt: (nativeId, mark, nics) =>
      this.alone(mark.serverId, async () =>
        asFound(await adopt(this.guests, nativeId, mark, await this.plugged(nics))),
      ),
    release: (id) => this.alone(id, () => release(this.guests, id)),
  };
  readonly consoles = {
    kinds: new Set<ConsoleKind>(['serial']),
    open: (id: ServerId, kind: ConsoleKind) => this.openConsole(id, kind),
  };
  readonly statistics = {
    read: (id: ServerId) => this.words(async () => readStatistics(this.guests, await this.guests.get(id))),
  };
  /** Where the disks of guests are on storage that other hosts have. */
  readonly liveMigration?: LiveMigration;
  /** Present once the probe has found that dom0 logs what guests write. */
  consoleLog?: ConsoleLog;

  private readonly host: Host;
  private readonly guests: Guests;
  private readonly migration: Migration | null = null;
  private readonly oneAtATime = new KeyedMutex<ServerId>();
  private readonly channel = new EventChannel();
  private readonly closing = new AbortController();
  private readonly building = new Set<ServerId>();
  /** Of guests that have run in probes. */
  private capabilities: Capabilities | null = null;
  /** As it was last asked for. */
  private capacity: HostInventory | null = null;
  private watched = false;

  constructor(private readonly options: XenDriverOptions) {
    this.physicalNetworks = Object.keys(options.bridges);
    this.host = new Host(options.shell, { ...LIMITS, answer: options.answerTimeout ?? LIMITS.answer * this.patience });
    this.guests = new Guests(this.host, options.root, options.cloudId);
    const { sharedDisks, migrationAddress } = options;
    if (sharedDisks === undefined) return;
    if (!sharedDisks.startsWith('/')) throw new Error('OMNIVISOR_SHARED_DISKS is not an absolute path');
    this.migration = new Migration({
      guests: this.guests,
      sharedDisks,
      address: migrationAddress,
      silence: options.migrationSilence ?? MIGRATION_SILENCE * this.patience,
      plan: (spec) => this.plan(spec),
      refuseBeyondHost: (flavor) => this.refuseBeyondHost(flavor),
      attached: (disks) =>
        Promise.all(
          disks.map(async (disk) => {
            const { diskId, readOnly } = disk;
            return { diskId, path: await pathOf(this.guests, disk), readOnly };
          }),
        ),
      alone: (id, action) => this.alone(id, action),
    });
    this.liveMigration = this.liveMigrationOf(this.migration);
  }

  async probe(signal: AbortSignal): Promise<ProbeReport> {
    const { root, type, bridges, sharedDisks } = this.options;
    const before = this.capabilities && { ran: this.capabilities };
    const shared = sharedDisks === undefined ? {} : { sharedDisks };
    const options = { root, type, bridges: Object.values(bridges), patience: this.patience, ...shared, ...before };
    const found = await probe(this.host, options, signal);
    if (found.report.health !== 'healthy') return found.report;
    this.capabilities = found.capabilities;
    if (found.logsConsoles)
      this.consoleLog ??= { tail: (id, maxBytes) => this.words(() => tailConsole(this.guests, id, maxBytes)) };
    else delete this.consoleLog;
    return found.report;
  }

  check(): Promise<void> {
    return this.words(async () => {
      const hung = String(Math.ceil(CHECK_LIMITS.hung * this.patience));
      await this.host.look(CHECK, [this.options.root, hung], { timeout: CHECK_LIMITS.answer * this.patience });
    });
  }

  inventory(): Promise<HostInventory> {
    return this.words(async () => {
      const info = await this.info();
      const { domains } = await this.guests.all();
      const facts = parseFacts(await this.host.look(FACTS, [this.options.root, this.options.sharedDisks ?? '']));
      const own = domains.find(({ domid }) => domid === 0)?.memory ?? 0;
      this.capacity = {
        vcpus: info.vcpus,
        memoryMib: Math.max(0, info.totalMemory - own - (this.options.reservedMemoryMib ?? 0)),
        diskGib: Math.floor(facts.disk.total / KIB_OF_GIB),
      };
      return this.capacity;
    });
  }

  list(): Promise<FoundGuest[]> {
    return this.words(async () =>
      (await this.guests.list())
        .filter(({ definition }) => !this.building.has(definition.serverId))
        .map((guest) => asFound(guest)),
    );
  }

  inspect(id: ServerId): Promise<FoundGuest> {
    return this.words(async () => {
      if (this.building.has(id)) throw new HypervisorError('serverNotOnHost', `server ${id} is being made`);
      return asFound(await this.guests.get(id));
    });
  }

  events(signal: AbortSignal): AsyncIterable<DriverEvent> {
    if (!this.watched) {
      this.watched = true;
      void watchGuests(this.guests, (id) => this.channel.publish(id), this.closing.signal);
    }
    return this.channel.subscribe(signal);
  }

  spawn(spec: GuestSpec, signal: AbortSignal): Promise<void> {
    const { serverId: id } = spec.mark;
    return this.alone(id, async () => {
      if (await this.isThere(spec)) return;
      refuseAborted(signal);
      const planned = await this.plan(spec);
      await this.refuseBeyondHost(spec.flavor);
      this.building.add(id);
      try {
        const empty = await this.begin(planned);
        await this.make(planned, empty, signal).catch(async (error: unknown) => {
          // What stays is found by the next spawn, or removed by a destroy.
          await this.guests.call(id, REMOVE).catch(() => undefined);
          throw error;
        });
      } finally {
        this.building.delete(id);
      }
    });
  }

  destroy(id: ServerId): Promise<void> {
    return this.alone(id, async () => {
      this.migration?.forget(id);
      if (await this.guests.findOrNothing(id)) await this.guests.call(id, REMOVE);
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
      if (guest.power === 'running' && grace > 0) await shutDown(this.guests, id, grace, signal);
      await stopGuest(this.guests, id);
    });
  }

  reboot(id: ServerId, kind: 'soft' | 'hard', nics: readonly GuestNic[], signal: AbortSignal = NEVER): Promise<void> {
    return this.with(id, async (guest) => {
      refuseAborted(signal);
      const patience = this.options.softRebootPatience ?? 60_000;
      if (kind === 'soft' && guest.power === 'running') await shutDown(this.guests, id, patience, signal);
      await stopGuest(this.guests, id);
      await this.turnOn(await this.guests.get(id), nics);
    });
  }

  async close(): Promise<void> {
    this.closing.abort();
    this.migration?.close();
    this.channel.close();
    this.options.shell.close();
  }

  private get patience(): number {
    return this.options.patience ?? 1;
  }

  /** Takes the place of a guest; until that is answered, what is there may be somebody else's. */
  private async begin({ spec, type, nics }: Plan): Promise<Definition> {
    const { serverId: id } = spec.mark;
    const size = { vcpus: spec.flavor.vcpus, memory: spec.flavor.memory, disk: spec.disks.root.size };
    const { sharedDisks } = this.options;
    const shared = sharedDisks === undefined ? null : sharedFolderOf(spec.mark);
    const empty: Definition = {
      ...spec.mark,
      ...{ stage: 'building', type, size, nics: [...nics], disks: [] },
      boot: { root: 'root.raw', kernel: null, ramdisk: null, commandLine: '' },
      ...{ ephemeral: null, swap: null, config: null, rescue: null, before: null, rebuilding: null, adopted: null },
      shared,
    };
    const disks = shared === null ? '' : `${sharedDisks}/${shared}`;
    if ((await this.guests.call(id, BEGIN, [JSON.stringify(empty), disks])).trim() === 'taken')
      throw new HypervisorError('fault', `something that is not ours has the place of server ${id}`);
    return empty;
  }

  private async make({ spec }: Plan, empty: Definition, signal: AbortSignal): Promise<void> {
    const made = await makeDisks(this.guests, spec, signal);
    refuseAborted(signal);
    const building = await this.guests.keep({ ...empty, ...made });
    const settled: Definition = { ...building, stage: 'settled' };
    refuseAborted(signal);
    if (!spec.powerOn) await this.guests.keep(settled);
    else await startGuest(this.guests, building, settled);
    if (signal.aborted) refuseAborted(signal);
  }

  /** True when this very guest is there and whole. Clears away what a spawn left behind that was cut off. */
  private async isThere({ mark }: GuestSpec): Promise<boolean> {
    const guest = await this.guests.find(mark.serverId);
    if (!guest) return false;
    const { definition } = guest;
    refuseElsewhere(guest);
    if (definition.attempt !== mark.attempt)
      throw new HypervisorError('fault', `another attempt of server ${mark.serverId} is on this host`);
    if (definition.build !== mark.build)
      throw new HypervisorError('fault', `another build of server ${mark.serverId} is on this host`);
    if (definition.stage !== 'building') return true;
    await this.guests.call(mark.serverId, REMOVE);
    return false;
  }

  private async turnOn(guest: Guest, nics: readonly GuestNic[]): Promise<void> {
    const { definition, power } = guest;
    if (power === 'running') return;
    if (power === 'suspended') throw new HypervisorError('fault', 'a suspended guest is resumed, not switched on');
    if (definition.stage === 'building') throw new HypervisorError('fault', 'the guest is not whole');
    if (power === 'paused') return void (await this.guests.call(definition.serverId, SET_RUNNING, ['unpause']));
    const next = await this.rewired(definition, nics);
    await startGuest(this.guests, next);
  }

  /** The interfaces that it is given; those that it had are kept when they are the same. */
  private async rewired(definition: Definition, nics: readonly GuestNic[]): Promise<Definition> {
    const wanted = this.wired(nics);
    const missing = definition.nics.filter((nic) => wanted.every(({ portId }) => portId !== nic.portId));
    const all = [...wanted, ...missing];
    if (JSON.stringify(all) === JSON.stringify(definition.nics)) return definition;
    return this.guests.keep({ ...definition, nics: all });
  }

  private setRunning(id: ServerId, run: boolean): Promise<void> {
    return this.with(id, async (guest) => {
      if (!isOn(guest)) throw new HypervisorError('fault', `cannot ${run ? 'unpause' : 'pause'} a guest that is off`);
      if ((guest.power === 'running') === run) return;
      await this.guests.call(id, SET_RUNNING, [run ? 'unpause' : 'pause']);
    });
  }

  private suspend(id: ServerId): Promise<void> {
    return this.with(id, async (guest) => {
      if (guest.power === 'suspended') return;
      if (!isOn(guest)) throw new HypervisorError('fault', 'cannot suspend a guest that is off');
      // A guest that stands still cannot make ready for its sleep.
      if (guest.power === 'paused') await this.guests.call(id, SET_RUNNING, ['unpause']);
      await this.guests.call(id, SUSPEND, [], { timeout: SAVE_LIMIT });
    });
  }

  private resume(id: ServerId, nics: readonly GuestNic[]): Promise<void> {
    return this.with(id, async (guest) => {
      if (guest.power === 'running') return;
      if (guest.power !== 'suspended')
        throw new HypervisorError('fault', `cannot resume a guest that is ${guest.power}`);
      await resumeGuest(this.guests, await this.rewired(guest.definition, nics));
    });
  }

  private openConsole(id: ServerId, kind: ConsoleKind): Promise<ConsoleStream> {
    return this.words(async () => {
      const guest = await this.guests.get(id);
      if (kind !== 'serial') throw new HypervisorError('unsupported', `Xen has no ${kind} console here`);
      return openConsole(this.guests, guest);
    });
  }

  private async plan(spec: GuestSpec): Promise<Plan> {
    return {
      spec,
      type: await this.typeFor(spec),
      nics: await this.plugged(spec.nics),
    };
  }

  private wired(nics: readonly GuestNic[]): Nic[] {
    return nics.map((nic) => nicFor(nic, this.options.bridges));
  }

  /** @throws HypervisorError `unsupported` for a bridge that is not there */
  private async plugged(nics: readonly GuestNic[]): Promise<Nic[]> {
    const wired = this.wired(nics);
    if (wired.length === 0) return wired;
    const { bridges } = parseFacts(await this.host.look(FACTS, [this.options.root]));
    for (const { bridge } of wired)
      if (!bridges.includes(bridge))
        throw new HypervisorError('unsupported', 'a network has no bridge on this host', bridge);
    return wired;
  }

  /** @throws HypervisorError `unavailable` for what Xen claims, while no probe has told whether it runs */
  private async typeFor(spec: GuestSpec): Promise<DomainType> {
    if (this.capabilities) return domainTypeFor(spec, this.capabilities, this.options.type);
    const { pv, hvm } = await this.info();
    const type = domainTypeFor(spec, { pv, pvh: hvm, hvm }, this.options.type);
    if (type === 'pv') return type;
    throw new HypervisorError('unavailable', `no probe has succeeded yet that shows whether ${type} domains run here`);
  }

  private async info() {
    return parseInfo(await this.host.look(INFO, [this.options.root]));
  }

  /** @throws HypervisorError `noResources` for what the host cannot carry, however empty it is */
  private async refuseBeyondHost({ vcpus, memory, disk }: FlavorSnapshot): Promise<void> {
    const has = this.capacity ?? (await this.inventory());
    if (memory > has.memoryMib || vcpus > has.vcpus * 16 || disk > has.diskGib + 1)
      throw new HypervisorError('noResources', 'the host has too little memory, disk or processors');
  }

  private with<T>(id: ServerId, action: (guest: Guest) => Promise<T>): Promise<T> {
    return this.alone(id, async () => {
      const guest = await this.guests.get(id);
      refuseElsewhere(guest);
      return action(guest);
    });
  }

  private liveMigrationOf(migration: Migration): LiveMigration {
    const { migrationAddress: address } = this.options;
    const { guests } = this;
    return {
      ...(address === undefined ? {} : { address }),
      reach: () => this.words(() => migration.reach()),
      offer: (id) => this.with(id, (guest) => migration.offer(guest)),
      receive: (spec, offer, options, signal) =>
        this.alone(spec.mark.serverId, () => migration.receive(spec, offer, options, signal)),
      send: (id, ticket, options) => this.alone(id, async () => migration.send(await guests.get(id), ticket, options)),
      accept: (id) =>
        this.alone(id, async () => {
          await guests.get(id);
          await migration.accept(id);
        }),
      cancel: (id) => this.alone(id, () => migration.cancel(id)),
      recover: (id) => this.alone(id, async () => migration.recover(await guests.get(id))),
    };
  }

  private alone<T>(id: ServerId, action: () => Promise<T>): Promise<T> {
    return this.oneAtATime.run(id, () => this.words(action));
  }

  private async words<T>(action: () => Promise<T>): Promise<T> {
    try {
      return await action();
    } catch (error) {
      throw asHypervisorError(error, 'driving Xen');
    }
  }
}
