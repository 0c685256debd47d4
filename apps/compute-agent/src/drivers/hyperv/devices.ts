import type { Bytes } from '@omnivisor/contracts';
import { type GuestDisk, type GuestNic, HypervisorError } from '../hypervisor-driver.js';
import type { BuildOptions } from './build.js';
import { basedDrives, same, settledDrives } from './checkpoints.js';
import { type Guest, type Guests, isOn } from './guests.js';
import { plainMac, wireFor } from './hardware.js';
import type { Mark } from './mark.js';

const refuse = (what: string): never => {
  throw new HypervisorError('unsupported', `Hyper-V cannot serve ${what}`);
};

/** Disks of volumes are on SCSI, where both generations take them at any time. */
export const attachDisk = async (guests: Guests, guest: Guest, disk: GuestDisk): Promise<void> => {
  const { on, vm, mark } = guest;
  const { connection } = disk;
  if (connection.kind !== 'file') return refuse(`a disk by ${connection.kind}`);
  if (disk.format !== 'vhd' && disk.format !== 'vhdx') refuse(`a disk of format ${disk.format}`);
  if (disk.readOnly) refuse('a read-only disk');
  if (disk.bus !== null && disk.bus !== 'scsi') refuse(`hw_disk_bus=${disk.bus} for a disk that is attached`);
  if (disk.bootIndex === 0) refuse('a start from an attached disk');
  // The mark first: so it is found again, whenever we are cut off.
  const attached: Mark = { ...mark, disks: { ...mark.disks, [disk.diskId]: connection.path } };
  if (mark.disks[disk.diskId] !== connection.path) await guests.write(guest, attached);
  try {
    const there = await basedDrives(guest, attached);
    if (!there.some(({ base }) => same(base, connection.path))) await on.disks.attach(vm.Id, connection.path);
  } catch (error) {
    await guests.write(guest, mark);
    throw error;
  }
};

export const detachDisk = async (guests: Guests, guest: Guest, diskId: string): Promise<void> => {
  const { on, vm, mark } = guest;
  const path = mark.disks[diskId];
  if (!path) return;
  await settledDrives(guest);
  await on.disks.detach(vm.Id, path);
  const { [diskId]: _, ...disks } = mark.disks;
  await guests.write(guest, { ...mark, disks });
};

export const growDisk = async (guest: Guest, diskId: string, size: Bytes): Promise<void> => {
  const { on, mark } = guest;
  const path = mark.disks[diskId];
  if (!path) throw new HypervisorError('fault', 'the disk is not attached');
  const { Size } = await on.disks.info(path);
  if (size < Size) refuse('a disk that becomes smaller');
  if (size === Size) return;
  await settledDrives(guest);
  await on.disks.resize(path, size);
};

/** Brings the ports of a guest up to date: they are there, on their switch and VLAN, and guarded. */
export const plugAll = async (
  { on, vm }: Guest,
  nics: readonly GuestNic[],
  { switches }: BuildOptions,
): Promise<void> => {
  for (const nic of nics) await on.adapters.plug(vm.Id, nic, wireFor(nic, switches));
};

export const attachNic = async (
  guests: Guests,
  guest: Guest,
  nic: GuestNic,
  { switches }: BuildOptions,
): Promise<void> => {
  const { on, vm, mark } = guest;
  const wire = wireFor(nic, switches);
  const mac = plainMac(nic.mac);
  const there = (await on.adapters.list(vm.Id)).some((adapter) => adapter.MacAddress === mac);
  if (!there && vm.Generation === 1 && isOn(guest))
    refuse('a network interface for a generation 1 guest that runs; it takes one while it is off');
  await guests.write(guest, { ...mark, ports: { ...mark.ports, [nic.portId]: mac } });
  try {
    await on.adapters.plug(vm.Id, nic, wire);
    if (!there) await on.machines.meter(vm.Id);
  } catch (error) {
    if (!there) {
      await on.adapters.unplug(vm.Id, mac);
      await guests.write(guest, mark);
    }
    throw error;
  }
};

/** It needs nothing of the guest: either generation allows it while it runs. */
export const cutOffNic = async ({ on, vm, mark }: Guest, portId: string): Promise<void> => {
  const mac = mark.ports[portId];
  if (mac) await on.adapters.cutOff(vm.Id, mac);
};

export const detachNic = async (guests: Guests, guest: Guest, portId: string): Promise<void> => {
  const { on, vm, mark } = guest;
  const mac = mark.ports[portId];
  if (!mac) return;
  if (vm.Generation === 1 && isOn(guest))
    refuse('taking a network interface from a generation 1 guest that runs; it gives one while it is off');
  await on.adapters.unplug(vm.Id, mac);
  const { [portId]: _, ...ports } = mark.ports;
  await guests.write(guest, { ...mark, ports });
};
