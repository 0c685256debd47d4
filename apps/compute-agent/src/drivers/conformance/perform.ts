import { type FlavorSnapshot, mib, ms } from '@omnivisor/contracts';
import type { GuestSpec, HypervisorDriver } from '../hypervisor-driver.js';
import type { Change, Devices } from './driver-under-test.js';

const never: AbortSignal = new AbortController().signal;

/** Twice the vCPUs and memory. */
export const twice = (flavor: FlavorSnapshot): FlavorSnapshot => ({
  ...flavor,
  vcpus: flavor.vcpus * 2,
  memory: mib(flavor.memory * 2),
});

/** What a driver tells of a guest of that flavor. */
export const sizes = ({ memory, vcpus }: FlavorSnapshot) => ({ memory, vcpus });

/** Asks a driver for a change of a guest, as the agent would. */
export const perform = (
  driver: HypervisorDriver,
  change: Change,
  spec: GuestSpec,
  { disk, nic }: Devices = {},
): Promise<void> => {
  const { serverId: id } = spec.mark;
  switch (change) {
    case 'spawn':
      return driver.spawn(spec, never);
    case 'powerOff':
      return driver.powerOff(id, ms(0));
    case 'powerOn':
      return driver.powerOn(id, spec.nics);
    case 'reboot':
      return driver.reboot(id, 'hard', spec.nics);
    case 'pause':
      return driver.pausing!.pause(id);
    case 'unpause':
      return driver.pausing!.unpause(id);
    case 'suspend':
      return driver.suspending!.suspend(id);
    case 'resume':
      return driver.suspending!.resume(id, spec.nics);
    case 'rebuild':
      return driver.rebuilding!.rebuild({ ...spec, mark: { ...spec.mark, build: 1 } }, never);
    case 'rescue':
      return driver.rescuing!.rescue(spec, never);
    case 'unrescue':
      return driver.rescuing!.unrescue(id, spec.nics);
    case 'resize':
      return driver.resizing!.resize(id, twice(spec.flavor), never);
    case 'confirmResize':
      return driver.resizing!.confirmResize(id);
    case 'revertResize':
      return driver.resizing!.revertResize(id);
    case 'attachDisk':
      return driver.disks!.attach(id, disk!);
    case 'detachDisk':
      return driver.disks!.detach(id, disk!.diskId);
    case 'attachNic':
      return driver.nics!.attach(id, nic!);
    case 'detachNic':
      return driver.nics!.detach(id, nic!.portId);
    case 'destroy':
      return driver.destroy(id);
  }
};
