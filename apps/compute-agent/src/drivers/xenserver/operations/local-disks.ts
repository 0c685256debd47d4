import type { ServerId } from '@omnivisor/contracts';
import { type GuestSpec, HypervisorError } from '../../hypervisor-driver.js';
import { xapiCode } from '../transport/xapi-error.js';
import { refuseAborted } from './aborted.js';
import { type LocalDisk, neededDisks } from './guest-state.js';
import type { Guest, Guests } from './guests.js';
import type { Ref } from './records.js';
import { configDriveFrom, type DiskPlan, diskFrom, ephemeralOf, type Storage, swapOf } from './storage.js';

/** Places of local disks; attached ones come behind. */
const DEVICES: Readonly<Record<string, string>> = { root: '0', ephemeral: '1', swap: '2', config: '3' };

/** The disks that a guest is made of, and that go with it. */
export class LocalDisks {
  /** Snapshots that are being read; they are nobody's rest. */
  private readonly reading = new Set<Ref>();

  constructor(
    private readonly storage: Storage,
    private readonly guests: Guests,
    private readonly stateDir: string,
  ) {}

  /** What a spec asks for, checked as far as that can be done before anything is made. */
  async plansFor({ disks, configDrive }: GuestSpec, signal: AbortSignal): Promise<DiskPlan[]> {
    const { stateDir } = this;
    const { root, ephemeral, swap } = disks;
    const plans = [await diskFrom('root', root.source, root.size, signal)];
    if (ephemeral?.source) plans.push(await diskFrom('ephemeral', ephemeral.source, ephemeral.size, signal));
    else if (ephemeral) plans.push(ephemeralOf(ephemeral.size, stateDir));
    if (swap > 0) plans.push(swapOf(swap, stateDir));
    if (configDrive) plans.push(configDriveFrom(configDrive));
    return plans;
  }

  async make(guest: Guest, plan: DiskPlan, signal: AbortSignal): Promise<LocalDisk> {
    refuseAborted(signal);
    const vdi = await this.storage.make(guest, plan, signal);
    return { role: plan.role, vdi, device: DEVICES[plan.role] ?? '0' };
  }

  /** Makes disks beside those that are there; when one cannot be made, none is left. */
  async makeBeside(guest: Guest, plans: readonly DiskPlan[], signal: AbortSignal): Promise<LocalDisk[]> {
    const made: LocalDisk[] = [];
    try {
      for (const plan of plans) made.push(await this.make(guest, plan, signal));
      refuseAborted(signal);
      return made;
    } catch (error) {
      await this.remove(guest, neededDisks(guest.state));
      throw error;
    }
  }

  /** Those that are gone already are fine. */
  async discard(disks: readonly LocalDisk[]): Promise<void> {
    for (const { vdi } of disks)
      try {
        await this.storage.remove(await this.storage.ref(vdi));
      } catch (error) {
        if (xapiCode(error) !== 'UUID_INVALID') throw error;
      }
  }

  /**
   * Removes the disks of a guest, also such that a crash left behind. Those of another guest of the server stay.
   * @param keep what is still needed
   */
  async remove(guest: Guest, keep: ReadonlySet<string> = new Set()): Promise<void> {
    const { ref: vm, record, state } = guest;
    const disks = (await this.storage.of(state.serverId)).filter(
      (disk) => !keep.has(disk.record.uuid) && !(keep.size > 0 && this.reading.has(disk.ref)),
    );
    const needs = neededDisks(state);
    // Disks of older releases do not say whose they are.
    const isAlone = disks.some(({ mark }) => mark.vm === undefined) && (await this.isAlone(guest));
    for (const disk of disks) {
      const isOwn = disk.mark.vm === undefined ? isAlone || needs.has(disk.record.uuid) : disk.mark.vm === record.uuid;
      if (isOwn && !(await this.storage.isUsedBeside(vm, disk))) await this.storage.remove(disk.ref);
    }
  }

  private async isAlone({ ref, state }: Guest): Promise<boolean> {
    return (await this.guests.ofServer(state.serverId)).every((vm) => vm.ref === ref);
  }

  /** Removes disks of a server whose guest is gone from the pool. */
  async removeStrays(id: ServerId): Promise<void> {
    const disks = await this.storage.of(id);
    if (disks.length === 0) return;
    const uuids = await this.guests.uuids();
    const others = await this.guests.ofServer(id);
    const needed = new Set(others.flatMap(({ state }) => [...neededDisks(state)]));
    for (const disk of disks) {
      const isStray = disk.mark.vm === undefined ? others.length === 0 : !uuids.has(disk.mark.vm);
      if (isStray && !needed.has(disk.record.uuid) && !(await this.storage.isUsedBeside(null, disk)))
        await this.storage.remove(disk.ref);
    }
  }

  /** A disk as it is at this moment; it is kept until it is forgotten. */
  async snapshot(
    { state }: Guest,
    role: 'root' | 'ephemeral',
    signal: AbortSignal,
  ): Promise<{ readonly ref: Ref; readonly size: number }> {
    const disk = state.disks.find((d) => d.role === role);
    if (!disk) throw new HypervisorError('unsupported', `the guest has no ${role} disk`);
    refuseAborted(signal);
    const ref = await this.storage.snapshot(disk.vdi, signal);
    this.reading.add(ref);
    return { ref, size: await this.storage.size(disk.vdi) };
  }

  async forgetSnapshot(ref: Ref): Promise<void> {
    this.reading.delete(ref);
    await this.storage.remove(ref);
  }
}
