import {
  type FlavorSnapshot,
  gib,
  type hostBus,
  type Milliseconds,
  mib,
  type PowerOperation,
  type PowerState,
  type ServerId,
} from '@omnivisor/contracts';
import type { z } from 'zod';
import { type GuestSpec, HypervisorError, type MigrationProgress, memberOf } from '../drivers/hypervisor-driver.js';
import type { GuestPorts } from './guest-ports.js';
import { type Boot, bytesOf, guestSpec, isFinalAnswer } from './guest-spec.js';
import type { Leave } from './leave.js';
import type { AgentPorts } from './ports.js';
import { reasonOf } from './reason.js';
import type { DesiredServer } from './reconcile.js';
import { Semaphore } from './semaphore.js';
import { NotAskedFor } from './session.js';

export type OperationResult =
  | { readonly ok: true; readonly power: PowerState }
  | {
      readonly ok: false;
      readonly failure: { readonly reason: string; readonly unsupported: boolean; readonly power: PowerState | null };
    };

/** Disks that are sent at the same time. */
const SENT_AT_ONCE = 2;

type Upload = z.output<typeof hostBus.snapshotUpload.reply>;
type Operation = NonNullable<DesiredServer['operation']>;

/** A live migration that is under way. */
interface Moving {
  /** Aborts when it is to come to its end. */
  readonly force: AbortController;
  progress: MigrationProgress | null;
}

/** One operation of a server, and what it is done with. */
interface Work {
  readonly desired: DesiredServer;
  readonly operation: Operation;
  /** Asks for what an operation needs that makes disks; null when the log does not ask for it any more. */
  readonly boot: () => Promise<Boot>;
  /** Asks where a snapshot's bytes, or those of a disk, go; null when the log does not ask for it any more. */
  readonly upload: (disk?: 'root' | 'ephemeral') => Promise<Upload>;
  /** Has the target take the guest; null when the log does not ask for it any more. */
  readonly ticket: (offer: string) => Promise<z.output<typeof hostBus.migrationTicket.reply>>;
  readonly leave: Leave;
}

/**
 * What is done to guests that are there: driver and network together. Each step needs its leave, and ends where the work
 * is given up.
 */
export class GuestOperations {
  private readonly sending = new Semaphore(SENT_AT_ONCE);
  /** Live migrations that are under way. */
  private readonly moving = new Map<ServerId, Moving>();

  constructor(
    private readonly ports: AgentPorts,
    private readonly guestPorts: GuestPorts,
    private readonly spawning: Semaphore,
    private readonly grace: Milliseconds,
  ) {}

  /** @throws what another try may mend */
  async operate(work: Work): Promise<OperationResult> {
    const { driver } = this.ports;
    const { serverId: id } = work.desired;
    const { signal } = work.leave;
    try {
      await this.carryOut(work);
      signal.throwIfAborted();
      const { stage, power } = await driver.inspect(id);
      // What has moved is off here, whatever its hypervisor sees of it.
      return { ok: true, power: stage === 'moved' ? 'shutdown' : power };
    } catch (error) {
      if (signal.aborted || !isFinal(error)) throw error;
      this.ports.onError(`${work.operation.kind} of server ${id}`, error);
      return {
        ok: false,
        failure: {
          reason: reasonOf(error),
          unsupported: error instanceof HypervisorError && error.code === 'unsupported',
          power: await this.powerOf(id),
        },
      };
    }
  }

  /** A live migration that is under way comes to its end, though the guest stands still for it. */
  force(id: ServerId): void {
    this.moving.get(id)?.force.abort();
  }

  /** How far the live migration of a guest is; null when none is under way, or its hypervisor has not told yet. */
  progressOf(id: ServerId): MigrationProgress | null {
    return this.moving.get(id)?.progress ?? null;
  }

  /** Null when the guest is gone. One that cannot be looked at now will be, by another try. */
  private async powerOf(id: ServerId): Promise<PowerState | null> {
    try {
      return (await this.ports.driver.inspect(id)).power;
    } catch (error) {
      if (error instanceof HypervisorError && error.code === 'serverNotOnHost') return null;
      throw error;
    }
  }

  private carryOut(work: Work): Promise<void> {
    const { kind } = work.operation;
    switch (kind) {
      case 'rebuild':
        return this.spawning.use(() => this.rebuild(work), work.leave.signal);
      case 'rescue':
        return this.spawning.use(() => this.rescue(work), work.leave.signal);
      case 'resize':
        return this.resize(work);
      case 'confirmResize':
        return this.confirmResize(work);
      case 'revertResize':
        return this.revertResize(work);
      case 'snapshot':
        return this.sending.use(async () => void (await this.sendDisk(work)), work.leave.signal);
      case 'migrate':
        return this.sending.use(() => this.migrate(work), work.leave.signal);
      case 'liveMigrate':
        return this.liveMigrate(work);
      case 'unrescue':
        return this.unrescue(work);
      default:
        return this.changePower(work, kind);
    }
  }

  private async changePower({ desired, leave }: Work, kind: PowerOperation): Promise<void> {
    const { driver } = this.ports;
    const { signal } = leave;
    const id = desired.serverId;
    const nics = bringsUp(kind) ? await this.guestPorts.plugAll(desired, leave) : [];
    await leave.step();
    switch (kind) {
      case 'start':
        return driver.powerOn(id, nics, signal);
      case 'stop':
        return driver.powerOff(id, this.grace, signal);
      case 'softReboot':
        return driver.reboot(id, 'soft', nics, signal);
      case 'hardReboot':
        return driver.reboot(id, 'hard', nics, signal);
      case 'pause':
      case 'unpause':
        return memberOf(driver, 'pausing')[kind](id);
      case 'suspend':
        return memberOf(driver, 'suspending').suspend(id);
      case 'resume':
        return memberOf(driver, 'suspending').resume(id, nics);
    }
  }

  private async rebuild(work: Work): Promise<void> {
    const rebuilding = memberOf(this.ports.driver, 'rebuilding');
    const { generation: build, powerOn = true } = work.operation;
    const spec = await this.specOf(work);
    await rebuilding.rebuild({ ...spec, mark: { ...spec.mark, build }, powerOn }, work.leave.signal);
  }

  private async rescue(work: Work): Promise<void> {
    const rescuing = memberOf(this.ports.driver, 'rescuing');
    const spec = await this.specOf(work);
    const disks = { root: { ...spec.disks.root, size: gib(0) }, ephemeral: null, swap: mib(0) };
    await rescuing.rescue({ ...spec, disks }, work.leave.signal);
  }

  private async unrescue({ desired, leave }: Work): Promise<void> {
    const rescuing = memberOf(this.ports.driver, 'rescuing');
    const nics = await this.guestPorts.plugAll(desired, leave);
    await leave.step();
    await rescuing.unrescue(desired.serverId, nics);
  }

  private async resize(work: Work): Promise<void> {
    const { desired, operation, leave } = work;
    const { driver } = this.ports;
    const resizing = memberOf(driver, 'resizing');
    const id = desired.serverId;
    const flavor = flavorOf(operation);
    const { stage } = await driver.inspect(id);
    await leave.step();
    await this.orComeUp(work, async () => {
      if (stage !== 'resized') {
        await resizing.checkResize(id, flavor);
        await leave.step();
        await driver.powerOff(id, this.grace, leave.signal);
      }
      await leave.step();
      await resizing.resize(id, flavor, leave.signal);
    });
    await this.comeUp(work);
  }

  /** A guest that is not open any more must be the one that is confirmed, or gone back to. */
  private async confirmResize({ desired, operation, leave }: Work): Promise<void> {
    const resizing = memberOf(this.ports.driver, 'resizing');
    const isOpen = await this.isOpen(desired.serverId, operation);
    await leave.step();
    if (isOpen) await resizing.confirmResize(desired.serverId);
  }

  private async revertResize(work: Work): Promise<void> {
    const { desired, operation, leave } = work;
    const { driver } = this.ports;
    const resizing = memberOf(driver, 'resizing');
    const id = desired.serverId;
    if (await this.isOpen(id, operation)) {
      await leave.step();
      await this.orComeUp(work, async () => {
        await driver.powerOff(id, this.grace, leave.signal);
        await leave.step();
        await resizing.revertResize(id);
      });
    }
    await this.comeUp(work);
  }

  /** A change that cannot be made leaves the guest as before, but maybe off. */
  private async orComeUp(work: Work, change: () => Promise<void>): Promise<void> {
    try {
      await change();
    } catch (error) {
      if (!work.leave.signal.aborted && isFinal(error)) await this.comeUp(work);
      throw error;
    }
  }

  /** Off, and all of its disks sent; its ports are let go, because they may be plugged for another host of this machine. */
  private async migrate(work: Work): Promise<void> {
    const { desired, leave } = work;
    const { driver } = this.ports;
    const id = desired.serverId;
    const ran = (await driver.inspect(id)).power !== 'shutdown';
    await leave.step();
    await driver.powerOff(id, this.grace, leave.signal);
    await this.orComeUp(work, async () => {
      // What was sent before the guest ran is older than what it has.
      for (const disk of desired.flavor.ephemeral > 0 ? (['root', 'ephemeral'] as const) : (['root'] as const))
        if (!(await this.sendDisk(work, disk)) && ran) throw new HypervisorError('fault', 'the guest has run since');
    });
    await this.guestPorts.unplug(desired.portIds, leave);
  }

  /** @returns false when the bytes are there already */
  private async sendDisk({ desired, upload, leave }: Work, disk?: 'root' | 'ephemeral'): Promise<boolean> {
    const snapshots = memberOf(this.ports.driver, 'snapshots');
    const to = await upload(disk);
    if (!to) throw new NotAskedFor();
    if (to.url === null) return false;
    const format = snapshots.formats.find((known) => known === to.format);
    if (!format) throw new HypervisorError('unsupported', `disks are not exported as ${to.format} here`);
    await leave.step();
    const { stream } = await snapshots.exportDisk(desired.serverId, disk ?? 'root', format, leave.signal);
    await this.ports.images.send(to.url, stream, leave.signal);
    return true;
  }

  /** The guest runs here until it runs there, or for a moment nowhere. */
  private async liveMigrate(work: Work): Promise<void> {
    const { desired, leave } = work;
    const { driver } = this.ports;
    const id = desired.serverId;
    const isGone = async () => (await driver.inspect(id)).stage === 'moved';
    // A hypervisor that moves guests by itself may be done before it hears that it is not to.
    if (!(await isGone()))
      await this.sendRunning(work).catch(async (error: unknown) => {
        if (!(await isGone())) throw error;
      });
    await this.guestPorts.unplug(desired.portIds, leave);
  }

  private async sendRunning({ desired, operation, ticket, leave }: Work): Promise<void> {
    const migration = memberOf(this.ports.driver, 'liveMigration');
    const id = desired.serverId;
    await leave.step();
    // What an agent before this one was in the middle of.
    await migration.recover(id);
    if (operation.abort) throw new HypervisorError('fault', 'the live migration was given up');
    // It may be forced as soon as it is asked for.
    const force = new AbortController();
    const moving: Moving = { force, progress: null };
    this.moving.set(id, moving);
    if (operation.force) force.abort();
    try {
      const given = await ticket(await migration.offer(id));
      if (!given) throw new NotAskedFor();
      await leave.step();
      const { ticket: text, address } = given;
      const how = {
        signal: leave.signal,
        force: force.signal,
        onProgress: (progress: MigrationProgress) => {
          moving.progress = progress;
        },
        ...(address === undefined ? {} : { address }),
      };
      await migration.send(id, text, how);
    } finally {
      this.moving.delete(id);
    }
  }

  private async isOpen(id: ServerId, operation: Operation): Promise<boolean> {
    const { stage, vcpus, memory } = await this.ports.driver.inspect(id);
    if (stage === 'resized') return true;
    const wanted = flavorOf(operation);
    if (vcpus !== wanted.vcpus || memory !== wanted.memory)
      throw new HypervisorError('fault', 'the guest is neither resized nor what it should be');
    return false;
  }

  private async comeUp({ desired, operation, leave }: Work): Promise<void> {
    if (!operation.powerOn) return;
    const nics = await this.guestPorts.plugAll(desired, leave);
    await leave.step();
    await this.ports.driver.powerOn(desired.serverId, nics, leave.signal);
  }

  /** The guest with disks from the operation's image, once its bytes and its network devices are here. */
  private async specOf({ desired, operation, boot, leave }: Work): Promise<GuestSpec> {
    const { image = desired.image } = operation;
    const given = await bytesOf(this.ports, image, boot, leave);
    const spec = guestSpec(this.ports, desired, image, given);
    const nics = await this.guestPorts.plugAll(desired, leave);
    await leave.step();
    return { ...spec, nics };
  }
}

/** Another try will not mend it. */
const isFinal = (error: unknown): boolean =>
  error instanceof HypervisorError ? error.code !== 'unavailable' : isFinalAnswer(error);

const flavorOf = ({ flavor }: Operation): FlavorSnapshot => {
  if (!flavor) throw new HypervisorError('fault', 'the log names no flavor');
  return flavor;
};

const bringsUp = (operation: PowerOperation): boolean =>
  operation === 'start' || operation === 'resume' || operation.endsWith('Reboot');
