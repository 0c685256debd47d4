import type { ServerId } from '@omnivisor/contracts';
import type { DatastoreFiles } from '../transport/datastore.js';
import type { ArgumentObject } from '../transport/soap.js';
import type { Updates } from '../transport/updates.js';
import { closeSerialPort } from './devices.js';
import type { Guest, Guests } from './guests.js';
import type { LocalDisks } from './local-disks.js';
import { folderOf } from './records.js';

/** Bytes of a console log that is closed until the guest's next start, which begins it anew. */
const LIMIT = 16 << 20;

/** Where a guest's console log is, by the file of its VM. */
export const consoleFile = (vmFile: string): string => `${folderOf(vmFile)}/console.log`;

/** What guests say on their first serial port: files that nothing else keeps from filling the datastore. */
export class Consoles {
  private readonly waiting = new Set<ServerId>();

  constructor(
    private readonly updates: Updates,
    private readonly guests: Guests,
    private readonly files: DatastoreFiles,
    private readonly disks: LocalDisks,
  ) {}

  tail({ vm }: Guest, maxBytes: number): Promise<Buffer> {
    return this.files.tail(consoleFile(vm.file), maxBytes);
  }

  /** Of a guest that is off: a log that is too large goes. */
  async renew(guest: Guest): Promise<void> {
    // One that stays is closed by the next look.
    await this.drop(guest).catch(() => undefined);
  }

  /**
   * Closes the logs of guests that run and have said too much.
   * @param alone does a change of a server when no other one is under way; none of them is waited for
   */
  async bound(alone: (id: ServerId, change: () => Promise<void>) => Promise<void>): Promise<void> {
    for (const guest of await this.guests.all()) {
      const { serverId: id } = guest.state;
      if (this.waiting.has(id) || (await this.closing(guest).catch(() => [])).length === 0) continue;
      this.waiting.add(id);
      // One that cannot be closed has its turn the next time.
      void alone(id, () => this.close(guest))
        .catch(() => undefined)
        .finally(() => this.waiting.delete(id));
    }
  }

  private async drop(guest: Guest): Promise<void> {
    if (await this.isFull(guest)) await this.disks.discard([consoleFile(guest.vm.file)]);
  }

  /** What closes the log of a guest that runs and has said too much; nothing when it is closed. */
  private async closing(guest: Guest): Promise<ArgumentObject[]> {
    if (guest.vm.power !== 'running' || !(await this.isFull(guest))) return [];
    return closeSerialPort(await this.disks.devices(guest), consoleFile(guest.vm.file));
  }

  /** Meanwhile it may have been started again, or have gone. */
  private async close(seen: Guest): Promise<void> {
    const guest = await this.guests.again(seen);
    const deviceChange = await this.closing(guest);
    if (deviceChange.length > 0) await this.updates.run(guest.vm.ref, 'ReconfigVM_Task', { spec: { deviceChange } });
  }

  private async isFull({ vm }: Guest): Promise<boolean> {
    return ((await this.files.sizeOf(consoleFile(vm.file))) ?? 0) > LIMIT;
  }
}
