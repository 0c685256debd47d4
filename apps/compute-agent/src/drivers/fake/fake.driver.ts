import { existsSync, readFileSync } from 'node:fs';
import { type Milliseconds, mib, ms, type ServerId } from '@omnivisor/contracts';
import {
  DISK_FORMATS,
  type DriverEvent,
  type FoundGuest,
  type GuestNic,
  type GuestSpec,
  type HostInventory,
  type HypervisorDriver,
  HypervisorError,
  type ImageSource,
  type ProbeReport,
} from '../hypervisor-driver.js';
import { crashDumpsOf, pausingOf, rebuildingOf, rescuingOf, resizingOf, suspendingOf } from './fake-changes.js';
import { diskGrowingOf, disksOf, nicsOf, snapshotsOf } from './fake-devices.js';
import { letterIn } from './fake-disk-image.js';
import { type FakeGuest, isOff, type Letter, NOTHING, nicsFrom } from './fake-guest.js';
import { FakeHost, refuseAborted, refuseHardware } from './fake-host.js';
import { type FakeHypervisor, guestFrom } from './fake-hypervisor.js';
import { adoptionOf, liveMigrationOf, unpack } from './fake-migration.js';
import {
  consoleLogOf,
  consolesOf,
  consoleTicketsOf,
  guestAgentOf,
  guestIntegrationOf,
  statisticsOf,
} from './fake-observation.js';

/** The optional members, each made over the machine. */
const MEMBERS = {
  pausing: pausingOf,
  suspending: suspendingOf,
  rebuilding: rebuildingOf,
  rescuing: rescuingOf,
  resizing: resizingOf,
  crashDumps: crashDumpsOf,
  snapshots: snapshotsOf,
  disks: disksOf,
  diskGrowing: diskGrowingOf,
  nics: nicsOf,
  liveMigration: liveMigrationOf,
  adoption: adoptionOf,
  consoleLog: consoleLogOf,
  consoles: consolesOf,
  consoleTickets: consoleTicketsOf,
  statistics: statisticsOf,
  guestAgent: guestAgentOf,
  guestIntegration: guestIntegrationOf,
} satisfies { [M in keyof HypervisorDriver]?: (host: FakeHost) => NonNullable<HypervisorDriver[M]> };
type Member = keyof typeof MEMBERS;

export interface FakeDriverOptions {
  readonly cloudId: string;
  /** Optional members it lacks, to be a backend that cannot do them. */
  readonly without?: readonly Member[];
}

/** Drives a `FakeHypervisor`. It promises what every driver promises, and takes its time from the machine's clock. */
export class FakeDriver implements HypervisorDriver {
  readonly backend = 'fake';
  readonly imageFormats = DISK_FORMATS;
  declare readonly pausing?: NonNullable<HypervisorDriver['pausing']>;
  declare readonly suspending?: NonNullable<HypervisorDriver['suspending']>;
  declare readonly rebuilding?: NonNullable<HypervisorDriver['rebuilding']>;
  declare readonly rescuing?: NonNullable<HypervisorDriver['rescuing']>;
  declare readonly resizing?: NonNullable<HypervisorDriver['resizing']>;
  declare readonly crashDumps?: NonNullable<HypervisorDriver['crashDumps']>;
  declare readonly snapshots?: NonNullable<HypervisorDriver['snapshots']>;
  declare readonly disks?: NonNullable<HypervisorDriver['disks']>;
  declare readonly diskGrowing?: NonNullable<HypervisorDriver['diskGrowing']>;
  declare readonly nics?: NonNullable<HypervisorDriver['nics']>;
  declare readonly liveMigration?: NonNullable<HypervisorDriver['liveMigration']>;
  declare readonly adoption?: NonNullable<HypervisorDriver['adoption']>;
  declare readonly consoleLog?: NonNullable<HypervisorDriver['consoleLog']>;
  declare readonly consoles?: NonNullable<HypervisorDriver['consoles']>;
  declare readonly consoleTickets?: NonNullable<HypervisorDriver['consoleTickets']>;
  declare readonly statistics?: NonNullable<HypervisorDriver['statistics']>;
  declare readonly guestAgent?: NonNullable<HypervisorDriver['guestAgent']>;
  declare readonly guestIntegration?: NonNullable<HypervisorDriver['guestIntegration']>;

  private readonly host: FakeHost;
  private readonly closing = new AbortController();

  constructor(
    private readonly machine: FakeHypervisor,
    { cloudId, without = [] }: FakeDriverOptions,
  ) {
    this.host = new FakeHost(machine, cloudId);
    const members = Object.entries(MEMBERS).filter(([name]) => !without.includes(name as Member));
    Object.assign(this, Object.fromEntries(members.map(([name, make]) => [name, make(this.host)])));
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

  async check(): Promise<void> {
    this.machine.answer();
  }

  async inventory(): Promise<HostInventory> {
    await this.machine.work('list');
    return this.machine.inventory;
  }

  async list(): Promise<FoundGuest[]> {
    await this.machine.work('list');
    return this.machine.all().filter(this.host.isOurs).map(this.found);
  }

  async inspect(id: ServerId): Promise<FoundGuest> {
    await this.machine.work('list');
    return this.found(this.host.guest(id));
  }

  events(signal: AbortSignal): AsyncIterable<DriverEvent> {
    return this.machine.guestEvents.subscribe(AbortSignal.any([signal, this.closing.signal]));
  }

  spawn(spec: GuestSpec, signal: AbortSignal): Promise<void> {
    const { serverId: id } = spec.mark;
    return this.host.oneAtATime.run(id, async () => {
      const there = this.machine.guest(id);
      if (there && sameMark(there, spec)) return this.machine.work('list');
      if (there) throw new HypervisorError('fault', `another attempt or build of server ${id} is on this host`);
      refuseHardware(spec);
      const guest = guestFrom(spec);
      this.machine.begin(id, guest);
      try {
        await this.machine.work('spawn', signal);
        const root = await letterOn(spec.disks.root.source, signal);
        refuseAborted(signal);
        this.machine.complete({ ...guest, disks: { ...guest.disks, root } });
        if (spec.powerOn) this.machine.start(id);
      } catch (error) {
        this.machine.giveUp(id);
        throw error;
      }
    });
  }

  destroy(id: ServerId, attempt?: number): Promise<void> {
    return this.host.oneAtATime.run(id, async () => {
      await this.machine.work('destroy');
      const guest = this.machine.guest(id);
      const isMeant = guest && this.host.isOurs(guest) && (attempt === undefined || guest.mark.attempt === attempt);
      if (isMeant) this.machine.remove(id);
    });
  }

  powerOn(id: ServerId, nics: readonly GuestNic[], signal?: AbortSignal): Promise<void> {
    const start = (guest: FakeGuest) => {
      refuseAway(guest);
      if (guest.power === 'suspended') throw new HypervisorError('fault', 'cannot start a guest that is suspended');
      if (isOff(guest)) this.machine.start(id, { nics: nicsFrom(nics) });
    };
    return this.host.onGuest(id, 'powerOn', start, signal);
  }

  powerOff(id: ServerId, grace: Milliseconds, signal?: AbortSignal): Promise<void> {
    const stop = async (guest: FakeGuest) => {
      refuseAway(guest);
      if (isOff(guest)) return;
      if (guest.power === 'running') await this.shutDown(id, grace, signal);
      this.machine.change(id, { power: 'shutdown', startedAt: null, memory: NOTHING });
    };
    return this.host.onGuest(id, 'powerOff', stop, signal);
  }

  reboot(id: ServerId, kind: 'soft' | 'hard', nics: readonly GuestNic[], signal?: AbortSignal): Promise<void> {
    const restart = async (guest: FakeGuest) => {
      refuseAway(guest);
      if (kind === 'soft' && guest.power === 'running') await this.shutDown(id, SOFT_REBOOT_WAIT, signal);
      this.machine.start(id, { nics: nicsFrom(nics) });
    };
    return this.host.onGuest(id, 'reboot', restart, signal);
  }

  async close(): Promise<void> {
    this.closing.abort();
  }

  private async shutDown(id: ServerId, grace: Milliseconds, signal?: AbortSignal): Promise<void> {
    const reacts = !this.machine.ignoringAcpi.has(id) && this.machine.shutdownTime <= grace;
    await this.machine.clock.sleep(ms(reacts ? this.machine.shutdownTime : grace), signal);
    refuseAborted(signal);
  }

  private readonly found = (guest: FakeGuest): FoundGuest => {
    unpack(this.machine, guest);
    const { mark, stage, power, memoryMib, vcpus } = this.host.guest(guest.mark.serverId);
    return { mark, stage, power: stage === 'incoming' ? 'noState' : power, memory: mib(memoryMib), vcpus };
  };
}

/** A disk that moves here, or a snapshot, keeps its letter; where images have no bytes, none does. */
const letterOn = async (source: ImageSource, signal: AbortSignal): Promise<Letter> => {
  const file = source.format === 'qcow2' ? await source.path(signal) : '';
  // Nothing of it may take time that is not the machine's.
  return (existsSync(file) ? letterIn(readFileSync(file)) : undefined) ?? NOTHING;
};

const SOFT_REBOOT_WAIT = ms(60_000);

const sameMark = (guest: FakeGuest, { mark }: GuestSpec): boolean =>
  guest.mark.cloudId === mark.cloudId && guest.mark.attempt === mark.attempt && guest.mark.build === mark.build;

/** It is another host's now, or not yet ours. */
const refuseAway = ({ stage }: FakeGuest): void => {
  if (stage === 'moved' || stage === 'incoming') throw new HypervisorError('fault', `the guest is ${stage}`);
};
