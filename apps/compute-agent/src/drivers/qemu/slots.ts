import { HypervisorError } from '../hypervisor-driver.js';
import type { GuestDefinition } from './definition.js';

/**
 * Where devices sit on the guest's PCI bus. Those that are always there have fixed places; disks and interfaces, which
 * come and go, get numbered ones: on i440FX a slot of the bus, on q35 a port of its own, as only a port can be plugged.
 */
export const FIXED = { video: 2, scsi: 3, serial: 4, balloon: 5, random: 6, watchdog: 7, usb: 8 } as const;

/** The rescue disk has the lowest number, so that guests count it first; then the guest's own disks. */
export const RESCUE_SLOT = 0;
const FIRST_FREE = 4;
const COUNT = { i440fx: 22, q35: 16 } as const;
const FIRST_I440FX_SLOT = 9;
const FIRST_Q35_DEVICE = 0x10;

/** The lowest number of a guest's own disks that none of these has. There are as many numbers as kinds of disks. */
export const freeDiskSlot = (disks: readonly { readonly slot: number }[]): number => {
  let slot = RESCUE_SLOT + 1;
  while (disks.some((disk) => disk.slot === slot)) slot++;
  return slot;
};

export const isQ35 = ({ machine }: Pick<GuestDefinition, 'machine'>): boolean => machine.startsWith('pc-q35');

/** The lowest number that no device of the guest has. @throws HypervisorError `unsupported` when all are taken */
export const freeSlot = (guest: GuestDefinition): number => {
  const taken = new Set([...guest.attached, ...guest.nics].map((device) => device.slot));
  for (let slot = FIRST_FREE; slot < COUNT[isQ35(guest) ? 'q35' : 'i440fx']; slot++) if (!taken.has(slot)) return slot;
  throw new HypervisorError('unsupported', 'the guest has as many devices as it can take');
};

/** Place of a numbered PCI device, as properties of `device_add`. */
export const placeOf = (guest: Pick<GuestDefinition, 'machine'>, slot: number): { bus: string; addr?: string } =>
  isQ35(guest) ? { bus: `port${slot}` } : { bus: 'pci.0', addr: `0x${(FIRST_I440FX_SLOT + slot).toString(16)}` };

/** Place of a device that is always there. */
export const fixedPlace = (guest: Pick<GuestDefinition, 'machine'>, device: keyof typeof FIXED): string =>
  `bus=${isQ35(guest) ? 'pcie.0' : 'pci.0'},addr=0x${FIXED[device].toString(16)}`;

/** Ports of q35; they reserve no I/O space, of which there would not be enough. */
export const portArguments = (guest: Pick<GuestDefinition, 'machine'>): string[] =>
  isQ35(guest)
    ? Array.from({ length: COUNT.q35 }, (_, n) => {
        const address = `0x${(FIRST_Q35_DEVICE + (n >> 3)).toString(16)}.${n % 8}`;
        const multifunction = n % 8 === 0 ? ',multifunction=on' : '';
        const port = `id=port${n},bus=pcie.0,addr=${address}${multifunction},chassis=${n + 1},io-reserve=0`;
        return ['-device', `pcie-root-port,${port}`];
      }).flat()
    : [];
