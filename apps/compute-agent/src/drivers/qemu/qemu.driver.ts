import { accessSync, closeSync, constants, openSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { Milliseconds, ServerId } from '@omnivisor/contracts';
import { asHypervisorError } from '../common/native-command.js';
import {
  type DriverEvent,
  type FoundGuest,
  type GuestNic,
  type GuestSpec,
  type HostInventory,
  type HypervisorDriver,
  HypervisorError,
  type ProbeReport,
} from '../hypervisor-driver.js';
import type { GuestDefinition } from './definition.js';
import { checked } from './definition.js';
import { IMAGE_FORMATS } from './disks.js';
import { settleInterrupted } from './interrupted.js';
import { adoptionOf } from './members/adoption.js';
import { diskGrowingOf, disksOf } from './members/disks.js';
import { liveMigrationOf } from './members/live-migration.js';
import { nicsOf } from './members/nics.js';
import { consoleLogOf, consolesOf, guestAgentOf, statisticsOf } from './members/observation.js';
import { rebuildingOf } from './members/rebuilding.js';
import { rescuingOf } from './members/rescuing.js';
import { resizingOf } from './members/resizing.js';
import { snapshotsOf } from './members/snapshots.js';
import { spawn } from './members/spawning.js';
import { crashDumpsOf, pausingOf, suspendingOf } from './members/suspending.js';
import { withNics } from './nic-plan.js';
import { type QemuDriverOptions } from './options.js';
import { reportOf } from './probe.js';
import { NEVER, QemuHost } from './qemu-host.js';
import { type RunState, refuseAborted } from './states.js';

export type { QemuDriverOptions } from './options.js';

/**
 * QEMU processes, driven over QMP. Guests are processes in sessions of their own; what they are made of lies in
 * `<stateDir>/guests/<server id>`, so any later driver object finds them again.
 */
export class QemuDriver implements HypervisorDriver {
  readonly backend = 'qemu';
  readonly imageFormats = IMAGE_FORMATS;
  private readonly host: QemuHost;
  readonly pausing;
  readonly suspending;
  readonly rebuilding;
  readonly rescuing;
  readonly resizing;
  readonly crashDumps;
  readonly snapshots;
  readonly disks;
  readonly diskGrowing;
  readonly nics;
  readonly liveMigration;
  readonly adoption;
  readonly consoleLog;
  readonly consoles;
  readonly statistics;
  readonly guestAgent;

  constructor(options: QemuDriverOptions) {
    const host = new QemuHost(options);
    this.host = host;
    this.pausing = pausingOf(host);
    this.suspending = suspendingOf(host);
    this.rebuilding = rebuildingOf(host);
    this.rescuing = rescuingOf(host);
    this.resizing = resizingOf(host);
    this.crashDumps = crashDumpsOf(host);
    this.snapshots = snapshotsOf(host);
    this.disks = disksOf(host);
    this.diskGrowing = diskGrowingOf(host);
    this.nics = nicsOf(host);
    this.liveMigration = liveMigrationOf(host);
    this.adoption = adoptionOf(host);
    this.consoleLog = consoleLogOf(host);
    this.consoles = consolesOf(host);
    this.statistics = statisticsOf(host);
    this.guestAgent = guestAgentOf(host);
  }

  async probe(signal: AbortSignal): Promise<ProbeReport> {
    try {
      return reportOf(await this.host.findAbility(signal));
    } catch (error) {
      return reportOf(asHypervisorError(error, 'probing QEMU'));
    }
  }

  /** QEMU has no service: it answers as long as its program and its accelerator are there. */
  async check(): Promise<void> {
    const { execution } = await this.host.ability();
    try {
      accessSync(programPath(this.host.qemu), constants.X_OK);
      if (execution.accel === 'kvm') closeSync(openSync('/dev/kvm', constants.O_RDWR));
    } catch (error) {
      throw new HypervisorError(
        'unavailable',
        'QEMU cannot be started on this host any more',
        (error as Error).message,
        {
          cause: error,
        },
      );
    }
  }

  async inventory(): Promise<HostInventory> {
    return this.host.inventory();
  }

  async list(): Promise<FoundGuest[]> {
    const { host } = this;
    const ours = host.store.ids().flatMap((id) => {
      const guest = host.read(id);
      return guest && !host.building.has(id) ? [guest] : [];
    });
    return Promise.all(
      ours.map((guest) =>
        // One guest that hangs must not hide the others.
        host.look(guest).catch((): FoundGuest => ({ ...host.facts(guest), power: 'noState' })),
      ),
    );
  }

  async inspect(id: ServerId): Promise<FoundGuest> {
    return this.host.look(this.host.definition(id));
  }

  events(signal: AbortSignal): AsyncIterable<DriverEvent> {
    // Events come over the connections to the guests, so there has to be one to each.
    void this.list().catch(() => undefined);
    return this.host.channel.subscribe(signal);
  }

  spawn(spec: GuestSpec, signal: AbortSignal): Promise<void> {
    return this.host.alone(spec.mark.serverId, () => spawn(this.host, spec, signal));
  }

  destroy(id: ServerId): Promise<void> {
    return this.host.alone(id, async () => {
      const guest = this.host.read(id);
      if (guest) await this.host.wipe(guest);
    });
  }

  powerOn(id: ServerId, nics: readonly GuestNic[], signal: AbortSignal = NEVER): Promise<void> {
    return this.host.onGuest(id, async (found) => {
      refuseAborted(signal);
      const guest = await settleInterrupted(this.host, found);
      if (guest.suspended) throw new HypervisorError('fault', 'a guest that is suspended is resumed, not started');
      const state = await this.host.state(guest);
      if (state === 'running') return;
      if (RESUMABLE.has(state)) return this.host.goOn(guest, state);
      await this.start(guest, nics, signal);
    });
  }

  powerOff(id: ServerId, grace: Milliseconds, signal: AbortSignal = NEVER): Promise<void> {
    return this.host.onGuest(id, async (found) => {
      refuseAborted(signal);
      const guest = await this.awake(found);
      await this.host.live(id).askToShutDown(guest, grace, signal);
      refuseAborted(signal);
      await this.host.turnOff(guest);
    });
  }

  reboot(id: ServerId, kind: 'soft' | 'hard', nics: readonly GuestNic[], signal: AbortSignal = NEVER): Promise<void> {
    return this.host.onGuest(id, async (found) => {
      refuseAborted(signal);
      const guest = await this.awake(found);
      const patience = this.host.options.softRebootPatience ?? 60_000;
      if (kind === 'soft') await this.host.live(id).askToShutDown(guest, patience, signal);
      refuseAborted(signal);
      await this.start(guest, nics, signal);
    });
  }

  async close(): Promise<void> {
    await this.host.close();
  }

  private async start(guest: GuestDefinition, nics: readonly GuestNic[], signal: AbortSignal): Promise<void> {
    // An adopted guest's devices are part of its command.
    const next = guest.adopted ? guest : checked(withNics(guest, nics));
    await this.host.turnOff(guest);
    await this.host.bringUp(next, signal);
  }

  /** Whole, and what it remembered in a suspend given up. */
  private async awake(found: GuestDefinition): Promise<GuestDefinition> {
    const guest = await settleInterrupted(this.host, found);
    if (!guest.suspended) return guest;
    const next = { ...guest, suspended: false };
    await this.host.turnOff(guest);
    this.host.store.write(next);
    return next;
  }
}

const RESUMABLE = new Set<RunState>(['paused', 'prelaunch', 'io-error', 'watchdog']);

/** Where a program is that may be named without a folder. */
const programPath = (program: string): string => {
  if (program.includes('/')) return program;
  const folders = (process.env.PATH ?? '').split(delimiter);
  const found = folders.map((folder) => join(folder, program)).find((path) => canRun(path));
  return found ?? program;
};

const canRun = (path: string): boolean => {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
};
