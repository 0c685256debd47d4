import type { ServerId } from '@omnivisor/contracts';
import { KeyedMutex } from '../common/keyed-mutex.js';
import { type GuestSpec, HypervisorError } from '../hypervisor-driver.js';
import type { FakeGuest } from './fake-guest.js';
import type { FakeHypervisor, FakeOperation } from './fake-hypervisor.js';

/** What all members of the fake driver do with their machine. */
export class FakeHost {
  readonly oneAtATime = new KeyedMutex<ServerId>();

  constructor(
    readonly machine: FakeHypervisor,
    readonly cloudId: string,
  ) {}

  /** One change of a guest that is ours, after the operation's time. */
  onGuest<T>(
    id: ServerId,
    operation: FakeOperation,
    action: (guest: FakeGuest) => Promise<T> | T,
    signal?: AbortSignal,
    hurry?: AbortSignal,
  ): Promise<T> {
    const ends = [signal, hurry].flatMap((end) => end ?? []);
    return this.oneAtATime.run(id, async () => {
      refuseAborted(signal);
      await this.machine.work(operation, ends.length > 0 ? AbortSignal.any(ends) : undefined);
      refuseAborted(signal);
      return action(this.guest(id));
    });
  }

  guest(id: ServerId): FakeGuest {
    const guest = this.machine.guest(id);
    if (!guest || !this.isOurs(guest)) throw new HypervisorError('serverNotOnHost', `server ${id} is not on this host`);
    return guest;
  }

  readonly isOurs = (guest: FakeGuest): boolean => guest.mark.cloudId === this.cloudId;
}

export const refuseAborted = (signal?: AbortSignal): void => {
  if (signal?.aborted) throw new HypervisorError('fault', 'the call was aborted');
};

/** What a machine without the hardware refuses. */
const HARDWARE: Readonly<Record<string, ReadonlySet<string>>> = {
  hw_disk_bus: new Set(['virtio', 'scsi', 'ide', 'sata']),
  hw_vif_model: new Set(['virtio', 'e1000', 'e1000e', 'rtl8139', 'vmxnet3']),
  hw_firmware_type: new Set(['bios', 'uefi']),
};

export const refuseHardware = ({ image }: GuestSpec): void => {
  for (const [property, known] of Object.entries(HARDWARE)) {
    const wanted = image.properties[property];
    if (wanted !== undefined && !known.has(wanted))
      throw new HypervisorError('unsupported', `this host cannot serve ${property}=${wanted}`);
  }
};

export const isDiskBus = (bus: string): boolean => HARDWARE.hw_disk_bus!.has(bus);
