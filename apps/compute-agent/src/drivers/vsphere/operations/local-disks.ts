import { randomUUID } from 'node:crypto';
import type { GiB, MiB, ServerId } from '@omnivisor/contracts';
import { writeConfigDrive } from '../../common/config-drive.js';
import { type GuestSpec, HypervisorError } from '../../hypervisor-driver.js';
import type { DatastoreFiles } from '../transport/datastore.js';
import type { PropertyReader } from '../transport/properties.js';
import type { ArgumentObject } from '../transport/soap.js';
import { LONG_TASK_LIMIT, type Updates } from '../transport/updates.js';
import { isFault } from '../transport/vim-fault.js';
import type { VimSession } from '../transport/vim-session.js';
import { controllerOf, unitFor } from './devices.js';
import { type DiskSource, ephemeralOf, sourceOf, swapOf } from './disk-source.js';
import type { StoredDisk } from './guest-state.js';
import type { Guest, Guests } from './guests.js';
import type { HeldDisk, Images } from './images.js';
import { refuseAborted } from './power.js';
import { type Device, devicesOf, folderOf } from './records.js';

const KIB_OF_GIB = 2 ** 20;
/** Tasks that make a disk. */
const DISK_TASK = /^VirtualDiskManager\.(copy|extend)VirtualDisk$/i;

/** A local disk that is to be: what it is copied from, and how long it will be. */
export interface DiskPlan {
  readonly role: string;
  readonly unit: number;
  readonly from: HeldDisk;
  readonly kib: number;
}

export const plannedBytes = (plans: readonly DiskPlan[]): number => plans.reduce((sum, { kib }) => sum + kib * 1024, 0);

export interface Made {
  readonly guest: Guest;
  readonly disks: StoredDisk[];
  readonly config: string | null;
}

const flatOf = (path: string): string => path.replace(/\.vmdk$/, '-flat.vmdk');

/** The disks and config drives that guests are made of, and that go with them: files beside their VMs. */
export class LocalDisks {
  constructor(
    private readonly session: VimSession,
    private readonly read: PropertyReader,
    private readonly updates: Updates,
    private readonly guests: Guests,
    private readonly images: Images,
    private readonly files: DatastoreFiles,
  ) {}

  /** What a spec asks for; what it is copied from is on the datastore afterwards. */
  async plansFor({ disks, mark }: Pick<GuestSpec, 'disks' | 'mark'>, signal: AbortSignal): Promise<DiskPlan[]> {
    const { root, ephemeral, swap } = disks;
    const sources: [string, DiskSource, number][] = [['root', await sourceOf(root.source, mark), root.size]];
    if (ephemeral)
      sources.push([
        'ephemeral',
        ephemeral.source ? await sourceOf(ephemeral.source, mark) : ephemeralOf(ephemeral.size),
        ephemeral.size,
      ]);
    if (swap > 0) sources.push(['swap', swapOf(swap), 0]);
    const plans: DiskPlan[] = [];
    for (const [role, source, gib] of sources) plans.push(await this.plan(role, source, gib, signal));
    return plans;
  }

  /** What was brought for this server alone goes. */
  forgetSources(id: ServerId): Promise<void> {
    return this.images.drop(id);
  }

  /** Disks that a larger flavor brings. */
  async plansBeside(ephemeral: GiB | 0, swap: MiB | 0, signal: AbortSignal): Promise<DiskPlan[]> {
    return [
      ...(ephemeral > 0 ? [await this.plan('ephemeral', ephemeralOf(ephemeral as GiB), ephemeral, signal)] : []),
      ...(swap > 0 ? [await this.plan('swap', swapOf(swap as MiB), 0, signal)] : []),
    ];
  }

  private async plan(role: string, source: DiskSource, gib: number, signal: AbortSignal): Promise<DiskPlan> {
    refuseAborted(signal);
    const from = await this.images.hold(source, signal);
    if (gib > 0 && from.kib > gib * KIB_OF_GIB)
      throw new HypervisorError(
        'fault',
        `the image needs ${Math.ceil(from.kib / KIB_OF_GIB)} GiB, the disk has ${gib} GiB`,
      );
    return { role, unit: unitFor(role), from, kib: Math.max(gib * KIB_OF_GIB, from.kib) };
  }

  devices({ vm }: Guest): Promise<Device[]> {
    return this.read.one(vm.ref, 'config.hardware.device').then(devicesOf);
  }

  /** Makes files beside the guest's; they are named in its state before they are there. When one cannot be made, none stays. */
  async make(
    guest: Guest,
    plans: readonly DiskPlan[],
    configDrive: GuestSpec['configDrive'],
    signal: AbortSignal,
  ): Promise<Made> {
    const folder = folderOf(guest.vm.file);
    const mark = randomUUID().slice(0, 8);
    const disks = plans.map(({ role, unit, kib }) => ({ role, unit, kib, path: `${folder}/${role}-${mark}.vmdk` }));
    const config = configDrive ? `${folder}/config-${mark}.iso` : null;
    const made = [...disks.map(({ path }) => path), ...(config === null ? [] : [config])];
    const { state } = guest;
    const named = await this.guests.write(guest, { ...state, scratch: [...state.scratch, ...made] });
    try {
      const destSpec = await this.formatFor(guest);
      for (const [n, { path, kib }] of disks.entries())
        await this.copy(plans[n]!.from, { path, kib }, destSpec, signal);
      if (configDrive && config !== null) await this.files.put(config, writeConfigDrive(configDrive), signal);
      refuseAborted(signal);
      return { guest: named, disks, config };
    } catch (error) {
      await this.updates.outlast(error, (_, name) => DISK_TASK.test(name));
      await this.sweep(named).catch(() => undefined);
      throw error;
    }
  }

  /** An ESXi host would make what it copies thick. A vCenter copies a disk as it is, and refuses to hear of formats. */
  private async formatFor(guest: Guest): Promise<ArgumentObject | undefined> {
    const { about } = await this.session.content();
    if (about.apiType !== 'HostAgent') return undefined;
    const isBusLogic = controllerOf(await this.devices(guest))?.$type === 'VirtualBusLogicController';
    return { $type: 'VirtualDiskSpec', diskType: 'thin', adapterType: isBusLogic ? 'busLogic' : 'lsiLogic' };
  }

  private async copy(
    from: HeldDisk,
    to: HeldDisk,
    destSpec: ArgumentObject | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    refuseAborted(signal);
    const manager = await this.session.manager('virtualDiskManager');
    const { datacenter } = this.guests.place;
    const between = { sourceDatacenter: datacenter.ref, destDatacenter: datacenter.ref };
    const args = { sourceName: from.path, destName: to.path, ...between, destSpec, force: false };
    const options = { signal, limit: LONG_TASK_LIMIT };
    await this.updates.run(manager, 'CopyVirtualDisk_Task', args, options);
    if (to.kib <= from.kib) return;
    const extension = { name: to.path, datacenter: datacenter.ref, newCapacityKb: to.kib, eagerZero: false };
    await this.updates.run(manager, 'ExtendVirtualDisk_Task', extension, options);
  }

  /** Removes files that nothing needs. */
  async sweep(guest: Guest): Promise<Guest> {
    const { state } = guest;
    if (state.scratch.length === 0) return guest;
    await this.discard(state.scratch);
    return this.guests.write(guest, { ...state, scratch: [] });
  }

  /** Those that are gone already are fine. */
  async discard(paths: readonly string[]): Promise<void> {
    for (const path of paths) await (path.endsWith('.vmdk') ? this.discardDisk(path) : this.discardFile(path));
  }

  private async discardDisk(name: string): Promise<void> {
    const manager = await this.session.manager('virtualDiskManager');
    try {
      const { datacenter } = this.guests.place;
      const options = { limit: LONG_TASK_LIMIT };
      await this.updates.run(manager, 'DeleteVirtualDisk_Task', { name, datacenter: datacenter.ref }, options);
    } catch (error) {
      if (!isFault(error, 'FileNotFound', 'CannotDeleteFile', 'CannotAccessFile', 'FileFault')) throw error;
      // It may be half there, of a copy that was cut off, or be used by somebody, which the next call tells.
      for (const part of [flatOf(name), name]) await this.discardFile(part);
    }
  }

  private async discardFile(name: string): Promise<void> {
    if (!(await this.files.has(name))) return;
    const manager = await this.session.manager('fileManager');
    try {
      await this.updates.run(manager, 'DeleteDatastoreFile_Task', {
        name,
        datacenter: this.guests.place.datacenter.ref,
      });
    } catch (error) {
      if (!isFault(error, 'FileNotFound')) throw error;
    }
  }
}
