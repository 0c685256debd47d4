import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, mkdtemp, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ServerId } from '@omnivisor/contracts';
import { z } from 'zod';
import { KeyedMutex } from '../../common/keyed-mutex.js';
import { HypervisorError } from '../../hypervisor-driver.js';
import { NfcLease } from '../transport/nfc-lease.js';
import type { PropertyReader } from '../transport/properties.js';
import type { Ref } from '../transport/soap.js';
import { LONG_TASK_LIMIT, type Updates } from '../transport/updates.js';
import { isFault } from '../transport/vim-fault.js';
import type { VimSession } from '../transport/vim-session.js';
import { addController, makeDisk } from './devices.js';
import type { DiskSource } from './disk-source.js';
import { HOLDER_KEY } from './guest-state.js';
import { extraConfig, type Guests } from './guests.js';
import type { Host } from './host.js';
import { devicesOf, fileOf, isDisk, type VmRecord } from './records.js';

/** A VM that never runs: it holds the disk of an image, from which those of guests are copied. */
const Holder = z.object({
  image: z.string(),
  /** Whose agent made it: only that one removes it while it is not ready. */
  place: z.string(),
  /** It is the disk of this server, which moves here, and goes once the guest has its own. */
  server: ServerId.optional(),
  kib: z.number().int().positive(),
  isReady: z.boolean(),
});
type Holder = z.infer<typeof Holder>;

export interface HeldDisk {
  readonly path: string;
  readonly kib: number;
}

const holderOf = ({ holder }: VmRecord): Holder | null => {
  try {
    return holder === null ? null : Holder.parse(JSON.parse(holder));
  } catch {
    return null;
  }
};

/** Images on the datastore of the place. Each is brought once; nobody depends on it afterwards. */
export class Images {
  private readonly oneAtATime = new KeyedMutex<string>();
  private readonly known = new Map<string, { readonly ref: Ref; readonly held: HeldDisk }>();

  constructor(
    private readonly session: VimSession,
    private readonly read: PropertyReader,
    private readonly updates: Updates,
    private readonly guests: Guests,
    private readonly host: Host,
    private readonly scratch: string,
  ) {}

  /** The disk of an image, brought to the datastore when it is not there. */
  hold(source: DiskSource, signal: AbortSignal): Promise<HeldDisk> {
    return this.oneAtATime.run(source.key, async () => (await this.find(source.key)) ?? this.bring(source, signal));
  }

  private async find(key: string): Promise<HeldDisk | null> {
    const known = this.known.get(key);
    if (known && (await this.isThere(known.ref))) return known.held;
    this.known.delete(key);
    const { datastore, id } = this.guests.place;
    for (const vm of await this.guests.vms()) {
      const holder = holderOf(vm);
      if (holder?.image !== key) continue;
      // One that is not ready was left by an agent that ended; this agent brings one image at a time once.
      if (!holder.isReady && holder.place === id) await this.remove(vm.ref);
      if (!holder.isReady || !vm.file.startsWith(`[${datastore.name}]`)) continue;
      return this.remember(key, vm.ref, holder.kib);
    }
    return null;
  }

  /** Removes what this place has for that server alone. */
  async drop(server: ServerId): Promise<void> {
    for (const vm of await this.guests.vms()) {
      const holder = holderOf(vm);
      if (holder?.server !== server || !this.guests.place.is(holder.place)) continue;
      await this.remove(vm.ref);
      this.known.delete(holder.image);
    }
  }

  private async isThere(ref: Ref): Promise<boolean> {
    try {
      return (await this.read.one(ref, 'name')) !== undefined;
    } catch (error) {
      if (isFault(error, 'ManagedObjectNotFound')) return false;
      throw error;
    }
  }

  private async remember(key: string, ref: Ref, kib: number): Promise<HeldDisk> {
    const disk = devicesOf(await this.read.one(ref, 'config.hardware.device')).find(isDisk);
    const path = disk ? fileOf(disk) : null;
    if (path === null) throw new HypervisorError('fault', 'the image that was brought has no disk');
    const held = { path, kib };
    this.known.set(key, { ref, held });
    return held;
  }

  private async bring(source: DiskSource, signal: AbortSignal): Promise<HeldDisk> {
    await mkdir(this.scratch, { recursive: true });
    const folder = await mkdtemp(join(this.scratch, 'image-'));
    try {
      const { file, kib } = await source.stream(folder, signal);
      const holder = { image: source.key, place: this.guests.place.id, kib, isReady: false };
      return await this.lease(source.server === null ? holder : { ...holder, server: source.server }, file, signal);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  private async lease(holder: Holder, file: string, signal: AbortSignal): Promise<HeldDisk> {
    const { place } = this.guests;
    const ref = (await this.session.call(place.pool, 'ImportVApp', {
      spec: { $type: 'VirtualMachineImportSpec', configSpec: this.shellOf(holder) },
      folder: place.folder,
      host: await this.host.memberWith([place.datastore.ref]),
    })) as Ref;
    const lease = await NfcLease.open(this.session, this.read, ref, signal);
    const rest = lease.keepAlive();
    try {
      await lease.push(createReadStream(file), (await stat(file)).size, signal);
      await lease.complete();
    } catch (error) {
      await lease.abort();
      await this.remove(lease.entity).catch(() => undefined);
      throw error;
    } finally {
      rest();
    }
    await this.updates.run(lease.entity, 'ReconfigVM_Task', {
      spec: { extraConfig: [extraConfig(HOLDER_KEY, JSON.stringify({ ...holder, isReady: true }))] },
    });
    // A single host has no templates; a VM that nobody starts is as good.
    await this.session.call(lease.entity, 'MarkAsTemplate').catch((error: unknown) => {
      if (!isFault(error, 'NotSupported', 'MethodNotFound', 'NotImplemented')) throw error;
    });
    return this.remember(holder.image, lease.entity, holder.kib);
  }

  private shellOf(holder: Holder) {
    const { datastore } = this.guests.place;
    return {
      name: `omnivisor image ${holder.image.slice(0, 20)} ${randomUUID().slice(0, 8)}`,
      guestId: 'otherLinux64Guest',
      files: { vmPathName: `[${datastore.name}]` },
      numCPUs: 1,
      memoryMB: 64,
      deviceChange: [addController('ParaVirtualSCSIController'), makeDisk(holder.kib)],
      extraConfig: [extraConfig(HOLDER_KEY, JSON.stringify(holder))],
    };
  }

  private async remove(ref: Ref): Promise<void> {
    try {
      await this.updates.run(ref, 'Destroy_Task', {}, { limit: LONG_TASK_LIMIT });
    } catch (error) {
      if (!isFault(error, 'ManagedObjectNotFound')) throw error;
    }
  }
}
