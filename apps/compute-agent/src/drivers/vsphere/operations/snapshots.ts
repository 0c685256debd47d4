import { Readable } from 'node:stream';
import { bytes } from '@omnivisor/contracts';
import { type DiskExport, HypervisorError } from '../../hypervisor-driver.js';
import { NfcLease } from '../transport/nfc-lease.js';
import type { PropertyReader } from '../transport/properties.js';
import { type Answer, type AnswerObject, listOf, type Ref } from '../transport/soap.js';
import { LONG_TASK_LIMIT, type Updates } from '../transport/updates.js';
import { fromVim, isFault } from '../transport/vim-fault.js';
import type { VimSession } from '../transport/vim-session.js';
import { fileAt, sizeAt } from './devices.js';
import type { Guest } from './guests.js';
import type { LocalDisks } from './local-disks.js';
import { refuseAborted } from './power.js';

/** Snapshots of ours; others of the same VM are somebody else's. */
const NAME = 'omnivisor export';

interface Taken {
  readonly ref: Ref;
  readonly file: string;
  readonly unit: number;
  readonly size: number;
}

/** Disks of guests as they are at one moment. */
export class Snapshots {
  /** Of which an export is under way in this process. */
  private readonly reading = new Set<string>();
  private readonly removing = new Map<string, Promise<unknown>>();

  constructor(
    private readonly session: VimSession,
    private readonly read: PropertyReader,
    private readonly updates: Updates,
    private readonly disks: LocalDisks,
  ) {}

  async take(guest: Guest, role: 'root' | 'ephemeral', signal: AbortSignal): Promise<Taken> {
    const disk = guest.state.disks.find((each) => each.role === role);
    if (!disk) throw new HypervisorError('unsupported', `the guest has no ${role} disk now`);
    refuseAborted(signal);
    await this.dropLeft(guest);
    const devices = await this.disks.devices(guest);
    const ref = (await this.updates.run(guest.vm.ref, 'CreateSnapshot_Task', {
      ...{ name: NAME, description: 'made while a disk is exported', memory: false, quiesce: false },
    })) as Ref;
    this.reading.add(ref.value);
    const file = fileAt(devices, disk).replace(/^.*\//, '');
    return { ref, file, unit: disk.unit, size: sizeAt(devices, disk) };
  }

  async export({ ref, file, unit, size }: Taken, signal: AbortSignal): Promise<DiskExport> {
    const forget = () => this.remove(ref).catch(() => undefined);
    try {
      refuseAborted(signal);
      const lease = await NfcLease.open(
        this.session,
        this.read,
        (await this.session.call(ref, 'ExportSnapshot')) as Ref,
        signal,
      );
      const rest = lease.keepAlive();
      const end = async () => {
        rest();
        await lease.complete().catch(() => undefined);
        await forget();
      };
      try {
        const stream = Readable.from(await lease.pull(file, unit, signal), { objectMode: false });
        stream.once('close', () => void end());
        return { format: 'vmdk', virtualSize: bytes(size), quiesced: false, stream };
      } catch (error) {
        await end();
        throw error;
      }
    } catch (error) {
      await forget();
      throw fromVim(error, 'reading the snapshot');
    }
  }

  /** Removes what exports left, and what they still read: the disks are to be changed. */
  async drop(guest: Pick<Guest, 'vm'>): Promise<void> {
    for (const ref of await this.of(guest)) await this.remove(ref);
  }

  private async dropLeft(guest: Pick<Guest, 'vm'>): Promise<void> {
    for (const ref of await this.of(guest)) if (!this.reading.has(ref.value)) await this.remove(ref);
  }

  private async of({ vm }: Pick<Guest, 'vm'>): Promise<Ref[]> {
    return oursIn(await this.read.one(vm.ref, 'snapshot.rootSnapshotList'));
  }

  /** Once: an export that ends and a change that cannot wait for it may ask at one time. */
  private remove(ref: Ref): Promise<unknown> {
    this.reading.delete(ref.value);
    const removing =
      this.removing.get(ref.value) ??
      this.updates
        .run(ref, 'RemoveSnapshot_Task', { removeChildren: false, consolidate: true }, { limit: LONG_TASK_LIMIT })
        .catch((error: unknown) => {
          if (!isFault(error, 'ManagedObjectNotFound')) throw error;
        })
        .finally(() => this.removing.delete(ref.value));
    this.removing.set(ref.value, removing);
    return removing;
  }
}

const oursIn = (trees: Answer | undefined): Ref[] =>
  listOf(trees).flatMap((each) => {
    const { name, snapshot, childSnapshotList } = each as AnswerObject;
    return [...(name === NAME ? [snapshot as Ref] : []), ...oursIn(childSnapshotList)];
  });
