import { mib } from '@omnivisor/contracts';
import { type ForeignGuest, type GuestMark, type GuestNic, HypervisorError } from '../../hypervisor-driver.js';
import type { PropertyReader } from '../transport/properties.js';
import type { AnswerObject } from '../transport/soap.js';
import type { Updates } from '../transport/updates.js';
import { connectNics, controllerOf } from './devices.js';
import { type GuestState, newState, STATE_KEY } from './guest-state.js';
import { cutOffEntry, extraConfig, type Guest, type Guests } from './guests.js';
import type { Networks } from './networks.js';
import { bytesOf, type Device, devicesOf, isDisk, isNic, unitOf, type VmRecord } from './records.js';

/**
 * VMs that somebody else made become servers, and back. Only one entry of their extra configuration changes; going back, they
 * get cards connected that were cut off meanwhile.
 */
export class Adopting {
  constructor(
    private readonly read: PropertyReader,
    private readonly updates: Updates,
    private readonly guests: Guests,
    private readonly networks: Networks,
  ) {}

  async candidates(): Promise<ForeignGuest[]> {
    const found: ForeignGuest[] = [];
    for (const vm of await this.guests.vms()) {
      if (!this.isCandidate(vm)) continue;
      const devices = await this.devices(vm);
      found.push({
        ...{ nativeId: vm.instanceUuid, name: vm.name, power: vm.power, vcpus: vm.vcpus, memory: mib(vm.memoryMib) },
        disks: disksIn(devices).map((disk) => ({ name: labelOf(disk), size: bytesOf(disk) })),
        nics: devices.filter(isNic).map((card) => ({ mac: String(card.macAddress), network: networkOf(card) })),
      });
    }
    return found;
  }

  /** Without any mark, at this place, and neither the vCenter's own nor one that it has lost. */
  private isCandidate({ template, isConnected, isManaged, state, holder, probe, host }: VmRecord): boolean {
    const { place } = this.guests;
    const isMarked = state !== null || holder !== null || probe !== null;
    return isConnected && !isManaged && !template && !isMarked && place.isAt(host, place.id);
  }

  private async devices({ ref }: VmRecord): Promise<Device[]> {
    return devicesOf(await this.read.one(ref, 'config.hardware.device'));
  }

  async adopt(nativeId: string, mark: GuestMark, nics: readonly GuestNic[]): Promise<Guest> {
    const of = (await this.guests.marked()).filter(
      ({ state }) => state !== 'unreadable' && state.serverId === mark.serverId,
    );
    const { guests } = this;
    const adopted = of.find(
      (each): each is Guest =>
        each.vm.instanceUuid === nativeId && guests.isOurs(each.state) && isSameMark(each.state, mark),
    );
    if (adopted) return adopted;
    if (of.length > 0) throw new HypervisorError('fault', 'the server has another guest already');
    const vm = (await this.guests.vms()).find((each) => each.instanceUuid === nativeId && this.isCandidate(each));
    if (!vm) throw new HypervisorError('fault', 'there is no such guest to adopt');
    const devices = await this.devices(vm);
    const controller = controllerOf(devices);
    if (disksIn(devices).some(({ controllerKey }) => controllerKey !== controller?.key))
      throw new HypervisorError('unsupported', 'the disks of a guest have to be on one SCSI controller');
    // They would go with the server.
    if (isShared(controller) || disksIn(devices).some(isShared))
      throw new HypervisorError(
        'unsupported',
        'the guest shares a disk with others: it would go when the server is deleted',
      );
    const cards = devices.filter(isNic).map((card) => String(card.macAddress).toLowerCase());
    for (const card of devices.filter(isNic)) {
      const nic = nics.find(({ mac }) => mac.toLowerCase() === String(card.macAddress).toLowerCase());
      if (nic) await this.networks.refuseOpen(nic, card);
    }
    const state: GuestState = {
      ...newState(mark, this.guests.place.id, { vcpus: vm.vcpus, memoryMib: vm.memoryMib }),
      phase: 'settled',
      disks: disksIn(devices).map((disk, n) => ({
        role: n === 0 ? 'root' : `disk-${disk.key}`,
        unit: unitOf(disk),
      })),
      nics: nics.filter(({ mac }) => cards.includes(mac.toLowerCase())).map(({ portId, mac }) => ({ portId, mac })),
    };
    return this.guests.write({ vm, state }, state);
  }

  async release(guest: Guest | null): Promise<void> {
    if (!guest) return;
    const { vm } = guest;
    const deviceChange = connectNics(await this.devices(vm), vm.cutOff, vm.power);
    await this.updates.run(vm.ref, 'ReconfigVM_Task', {
      // An empty entry is none.
      spec: { deviceChange, extraConfig: [extraConfig(STATE_KEY, ''), ...cutOffEntry(vm, [])] },
    });
  }
}

const isSameMark = (state: GuestState, mark: GuestMark): boolean =>
  state.cloudId === mark.cloudId && state.attempt === mark.attempt && state.build === mark.build;

/** In the order in which firmware counts them. */
const disksIn = (devices: readonly Device[]): Device[] =>
  devices.filter(isDisk).sort((a, b) => Number(a.controllerKey) - Number(b.controllerKey) || unitOf(a) - unitOf(b));

/** A disk that several VMs may write, or a controller all of whose disks are seen by others. */
const isShared = (device: Device | undefined): boolean => {
  const { sharing } = (device?.backing ?? {}) as AnswerObject;
  return sharing === 'sharingMultiWriter' || (device?.sharedBus ?? 'noSharing') !== 'noSharing';
};

const labelOf = ({ deviceInfo, key }: Device): string => String((deviceInfo as AnswerObject | undefined)?.label ?? key);

const networkOf = ({ backing }: Device): string | null => {
  const { deviceName, port } = (backing ?? {}) as AnswerObject;
  const key = (port as AnswerObject | undefined)?.portgroupKey;
  return deviceName === undefined ? (key === undefined ? null : String(key)) : String(deviceName);
};
