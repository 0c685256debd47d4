import { mib, type ServerId } from '@omnivisor/contracts';
import { type ForeignGuest, type GuestMark, type GuestNic, HypervisorError } from '../../hypervisor-driver.js';
import { xapiCode } from '../transport/xapi-error.js';
import type { XapiSession } from '../transport/xapi-session.js';
import type { Devices } from './devices.js';
import { type GuestState, type LocalDisk, newState, PORT_KEY, STATE_KEY } from './guest-state.js';
import type { Guest, Guests } from './guests.js';
import type { Place } from './place.js';
import { lockOf } from './port-lock.js';
import {
  type NetworkRecord,
  NULL_REF,
  type Ref,
  type VdiRecord,
  type VifRecord,
  type VmRecord,
  wholeNumber,
} from './records.js';
import type { Storage } from './storage.js';

const POWER = { Running: 'running', Paused: 'paused', Halted: 'shutdown', Suspended: 'suspended' } as const;

/** VMs that somebody else made become servers, and back. Entries of `other_config` change, and the locks of VIFs. */
export class Adopting {
  constructor(
    private readonly xapi: XapiSession,
    private readonly guests: Guests,
    private readonly place: Place,
    private readonly devices: Devices,
    private readonly storage: Storage,
  ) {}

  async candidates(): Promise<ForeignGuest[]> {
    const all = await this.xapi.call<Record<Ref, VmRecord>>('VM.get_all_records');
    const networks = await this.xapi.call<Record<Ref, NetworkRecord>>('network.get_all_records');
    const found: ForeignGuest[] = [];
    for (const [ref, record] of Object.entries(all)) {
      if (!this.isCandidate(record)) continue;
      const disks = await this.disks(ref);
      const vifs = await this.devices.vifs(ref);
      found.push({
        nativeId: record.uuid,
        name: record.name_label,
        power: POWER[record.power_state],
        vcpus: wholeNumber(record.VCPUs_at_startup),
        memory: mib(Math.round(wholeNumber(record.memory_static_max) / 2 ** 20)),
        disks: disks.map(({ vdi }) => ({ name: vdi.name_label, size: wholeNumber(vdi.virtual_size) })),
        nics: vifs.map(({ record: vif }) => ({ mac: vif.MAC, network: networks[vif.network]?.name_label ?? null })),
      });
    }
    return found;
  }

  /** One that runs here, or is off and prefers this place. */
  private isCandidate({
    other_config,
    is_a_template,
    is_a_snapshot,
    is_control_domain,
    resident_on,
    affinity,
  }: VmRecord) {
    if (is_a_template || is_a_snapshot || is_control_domain || other_config[STATE_KEY] !== undefined) return false;
    return this.place.member === null || (resident_on === NULL_REF ? affinity : resident_on) === this.place.member.ref;
  }

  private async disks(vm: Ref): Promise<{ readonly device: string; readonly ref: Ref; readonly vdi: VdiRecord }[]> {
    const vbds = (await this.devices.vbds(vm)).filter(
      ({ record }) => record.type === 'Disk' && record.VDI !== NULL_REF,
    );
    vbds.sort(
      (a, b) =>
        Number(b.record.bootable) - Number(a.record.bootable) ||
        Number(a.record.userdevice) - Number(b.record.userdevice),
    );
    return Promise.all(
      vbds.map(async ({ record }) => ({
        device: record.userdevice,
        ref: record.VDI,
        vdi: await this.xapi.call<VdiRecord>('VDI.get_record', record.VDI),
      })),
    );
  }

  async adopt(nativeId: string, mark: GuestMark, nics: readonly GuestNic[]): Promise<Guest> {
    const named = await this.guests.ofServer(mark.serverId);
    const ours = named.find(({ record, state }) => record.uuid === nativeId && sameMark(state, mark));
    if (named.some((vm) => vm !== ours)) throw new HypervisorError('fault', 'the server has another guest already');
    // What cannot be enforced is refused before it is ours.
    const locks = new Map(nics.map((nic) => [nic.mac.toLowerCase(), lockOf(nic)]));
    const ref = ours?.ref ?? (await this.candidate(nativeId));
    const record = await this.xapi.call<VmRecord>('VM.get_record', ref);
    const disks = await this.disks(ref);
    const local: LocalDisk[] = disks.map(({ device, vdi }, n) => ({
      role: n === 0 ? 'root' : `disk-${device}`,
      vdi: vdi.uuid,
      device,
    }));
    const size = {
      vcpus: wholeNumber(record.VCPUs_at_startup),
      memoryMib: Math.round(wholeNumber(record.memory_static_max) / 2 ** 20),
    };
    const vifs = await this.devices.vifs(ref);
    const before = vifs.filter(({ record: { MAC } }) => locks.has(MAC.toLowerCase()));
    const state: GuestState = {
      ...newState(mark, this.place.uuid, size),
      phase: 'settled',
      disks: local,
      // A repeat finds locks of ours.
      former: ours ? ours.state.former : Object.fromEntries(before.map(({ record }) => formerOf(record))),
    };
    // The VM last: until then it is somebody else's, and a repeat marks the rest again.
    for (const [n, { ref: vdi }] of disks.entries())
      await this.storage.claim(vdi, { ref, record, state }, local[n]!.role);
    for (const { ref: vif, record: card } of vifs) {
      const nic = nics.find(({ mac }) => mac.toLowerCase() === card.MAC.toLowerCase());
      if (nic) await this.name(vif, nic.portId);
    }
    const guest = await this.guests.write({ ref, record, state }, state);
    try {
      for (const vif of vifs) {
        const lock = locks.get(vif.record.MAC.toLowerCase());
        if (lock) await this.devices.relock(vif, lock);
      }
    } catch (error) {
      // It is as before then.
      await this.giveBack(guest);
      throw error;
    }
    return guest;
  }

  private async candidate(nativeId: string): Promise<Ref> {
    try {
      const ref = await this.xapi.call<Ref>('VM.get_by_uuid', nativeId);
      if (this.isCandidate(await this.xapi.call<VmRecord>('VM.get_record', ref))) return ref;
    } catch (error) {
      if (xapiCode(error) !== 'UUID_INVALID') throw error;
    }
    throw new HypervisorError('fault', 'there is no such guest to adopt');
  }

  private async name(vif: Ref, portId: string): Promise<void> {
    await this.xapi.call('VIF.remove_from_other_config', vif, PORT_KEY);
    await this.xapi.call('VIF.add_to_other_config', vif, PORT_KEY, portId);
  }

  async release(id: ServerId): Promise<void> {
    const guest = await this.guests.find(id);
    if (guest) await this.giveBack(guest);
  }

  /** The VM's mark goes last, so that what was cut off is done again. */
  private async giveBack({ ref, state }: Guest): Promise<void> {
    for (const { vdi } of state.disks)
      await this.xapi.call('VDI.remove_from_other_config', await this.xapi.call('VDI.get_by_uuid', vdi), STATE_KEY);
    for (const vif of await this.devices.vifs(ref)) {
      const was = state.former[vif.record.MAC.toLowerCase()];
      if (was) await this.devices.relock(vif, was);
      await this.xapi.call('VIF.remove_from_other_config', vif.ref, PORT_KEY);
    }
    await this.xapi.call('VM.remove_from_other_config', ref, STATE_KEY);
  }
}

const formerOf = ({ MAC, locking_mode, ipv4_allowed, ipv6_allowed }: VifRecord) =>
  [MAC.toLowerCase(), { locking_mode, ipv4_allowed, ipv6_allowed }] as const;

const sameMark = (state: GuestState, mark: GuestMark): boolean =>
  state.cloudId === mark.cloudId && state.attempt === mark.attempt && state.build === mark.build;
