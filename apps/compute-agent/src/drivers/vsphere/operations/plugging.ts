import { type GuestDisk, type GuestNic, HypervisorError } from '../../hypervisor-driver.js';
import type { DatastoreFiles } from '../transport/datastore.js';
import { datastorePath } from '../transport/datastore.js';
import {
  addDisk,
  addNic,
  connectNic,
  controllerOf,
  diskAt,
  freeUnit,
  growDisk,
  isCutOff,
  nicAt,
  removeDisk,
  removeNic,
  sameMac,
} from './devices.js';
import type { Guest, Guests } from './guests.js';
import { cardOf } from './hardware.js';
import type { LocalDisks } from './local-disks.js';
import type { Making } from './making.js';
import type { Networks } from './networks.js';
import { bytesOf, fileOf } from './records.js';
import type { Snapshots } from './snapshots.js';

/** Disks and network cards that come to guests and leave them; each is one reconfiguration with the state. */
export class Plugging {
  constructor(
    private readonly guests: Guests,
    private readonly disks: LocalDisks,
    private readonly snapshots: Snapshots,
    private readonly files: DatastoreFiles,
    private readonly making: Making,
    private readonly networks: Networks,
  ) {}

  async attachDisk(guest: Guest, { connection, diskId, bus, readOnly }: GuestDisk): Promise<void> {
    const { state } = guest;
    if (connection.kind !== 'file') throw new HypervisorError('unsupported', 'a vCenter attaches its own disks only');
    if (bus !== null && bus !== 'scsi')
      throw new HypervisorError('unsupported', `this host cannot attach a disk to the bus ${bus}`);
    if (readOnly) throw new HypervisorError('unsupported', 'a vCenter has no disks that cannot be written');
    const { path } = connection;
    if (datastorePath(path).path === '' || !(await this.files.has(path)))
      throw new HypervisorError('fault', 'there is no such disk on a datastore');
    const devices = await this.disks.devices(guest);
    const there = devices.find((device) => fileOf(device) === path);
    if (there && state.volumes.some((volume) => volume.diskId === diskId)) return;
    if (there) throw new HypervisorError('fault', 'the guest has this disk already');
    const controller = controllerOf(devices);
    if (!controller) throw new HypervisorError('fault', 'the guest has lost the controller of its disks');
    const unit = freeUnit(devices, state);
    await this.guests.write(
      guest,
      { ...state, volumes: [...state.volumes.filter((volume) => volume.diskId !== diskId), { diskId, unit }] },
      // The capacity is the file's; the field has to be there.
      { deviceChange: [addDisk({ path, unit, kib: 0 }, controller.key)] },
    );
  }

  async detachDisk(guest: Guest, diskId: string): Promise<void> {
    const { state } = guest;
    const volume = state.volumes.find((each) => each.diskId === diskId);
    if (!volume) return;
    await this.snapshots.drop(guest);
    const deviceChange = removeDisk(await this.disks.devices(guest), volume.unit);
    await this.guests.write(
      guest,
      { ...state, volumes: state.volumes.filter((each) => each !== volume) },
      { deviceChange },
    );
  }

  async growDisk(guest: Guest, diskId: string, size: number): Promise<void> {
    const volume = guest.state.volumes.find((each) => each.diskId === diskId);
    const device = volume && diskAt(await this.disks.devices(guest), volume.unit);
    if (!device) throw new HypervisorError('fault', 'the guest has no such disk');
    const has = bytesOf(device);
    if (size < has) throw new HypervisorError('unsupported', 'a disk never becomes smaller');
    if (size === has) return;
    await this.snapshots.drop(guest);
    await this.guests.write(guest, guest.state, { deviceChange: [growDisk(device, Math.ceil(size / 1024))] });
  }

  async attachNic(guest: Guest, nic: GuestNic): Promise<void> {
    const { state, vm } = guest;
    const others = state.nics.filter(({ portId }) => portId !== nic.portId);
    const isKnown = others.length < state.nics.length;
    const planned = await this.making.plan([nic], cardOf(state.wishes));
    const devices = await this.disks.devices(guest);
    const nics = [...others, { portId: nic.portId, mac: nic.mac }];
    const card = nicAt(devices, nic.mac);
    // It may be in another port group than the one that is planned, which is where its next start takes it.
    if (card) await this.networks.refuseOpen(nic, card);
    const cutOff = withoutMac(vm.cutOff, nic.mac);
    const isCut = cutOff.length < vm.cutOff.length;
    const back = card && isCut ? [connectNic(card, true, vm.power === 'running')] : [];
    const deviceChange = card ? back : planned.map(addNic);
    if (deviceChange.length === 0 && isKnown) return;
    await this.guests.write(guest, { ...state, nics }, { deviceChange }, cutOff);
  }

  /** The card stays, and is not connected. */
  async cutOffNic(guest: Guest, portId: string): Promise<void> {
    const { state, vm } = guest;
    const port = state.nics.find((each) => each.portId === portId);
    const card = port && nicAt(await this.disks.devices(guest), port.mac);
    if (!card || isCutOff(card)) return;
    const cutOff = [...withoutMac(vm.cutOff, port.mac), port.mac];
    await this.guests.write(guest, state, { deviceChange: [connectNic(card, false, false)] }, cutOff);
  }

  async detachNic(guest: Guest, portId: string): Promise<void> {
    const { state, vm } = guest;
    const port = state.nics.find((each) => each.portId === portId);
    if (!port) return;
    const deviceChange = removeNic(await this.disks.devices(guest), port.mac);
    const nics = state.nics.filter((each) => each !== port);
    await this.guests.write(guest, { ...state, nics }, { deviceChange }, withoutMac(vm.cutOff, port.mac));
  }
}

const withoutMac = (macs: readonly string[], mac: string): string[] => macs.filter((each) => !sameMac(each, mac));
