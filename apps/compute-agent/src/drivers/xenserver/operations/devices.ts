import { isDeepStrictEqual } from 'node:util';
import type { ServerId } from '@omnivisor/contracts';
import { type GuestDisk, type GuestNic, HypervisorError } from '../../hypervisor-driver.js';
import { isXapiError, xapiCode } from '../transport/xapi-error.js';
import type { XapiSession } from '../transport/xapi-session.js';
import { attachedDisks, DISK_KEY, type GuestState, type LocalDisk, PORT_KEY, readDiskMark } from './guest-state.js';
import type { Guest } from './guests.js';
import { type Hardware, hardwareOf, platformWith } from './hardware.js';
import type { Networks } from './networks.js';
import { lockOf, type PortLock, sameLock, type VifLock } from './port-lock.js';
import {
  NULL_REF,
  type Ref,
  type VbdRecord,
  type VdiRecord,
  type VifRecord,
  type VmRecord,
  wholeNumber,
} from './records.js';

interface Plugged<R> {
  readonly ref: Ref;
  readonly record: R;
}

/** A port, with the network and the lock that it gets here. */
export interface PlannedNic {
  readonly nic: GuestNic;
  readonly network: Ref;
  readonly lock: PortLock;
}

/** First place for disks that are attached: local ones come before. */
const FIRST_ATTACHED = 4;
const MOST_NICS = 7;
/** The locking mode of a VIF that nothing passes. */
const CUT_OFF = 'disabled';

const firstFree = (used: readonly string[], from: number): string => {
  let n = from;
  while (used.includes(String(n))) n++;
  return String(n);
};

/** Disks and network interfaces of VMs. */
export class Devices {
  constructor(
    private readonly xapi: XapiSession,
    private readonly networks: Networks,
  ) {}

  async vbds(vm: Ref): Promise<Plugged<VbdRecord>[]> {
    const refs = await this.xapi.call<Ref[]>('VM.get_VBDs', vm);
    return this.records(refs, 'VBD');
  }

  async vifs(vm: Ref): Promise<Plugged<VifRecord>[]> {
    const refs = await this.xapi.call<Ref[]>('VM.get_VIFs', vm);
    const vifs = await this.records<VifRecord>(refs, 'VIF');
    return vifs.sort((a, b) => Number(a.record.device) - Number(b.record.device));
  }

  /** @throws HypervisorError `unsupported` for what the pool does not have or cannot enforce */
  async plan(nics: readonly GuestNic[]): Promise<PlannedNic[]> {
    if (nics.length > MOST_NICS)
      throw new HypervisorError('unsupported', `a guest of this pool has at most ${MOST_NICS} network interfaces`);
    const planned: PlannedNic[] = [];
    for (const nic of nics) planned.push({ nic, lock: lockOf(nic), network: await this.networks.networkFor(nic) });
    return planned;
  }

  /** The VM, which is off, has the local disks of its state at their places, its size and its hardware. */
  async arrange({ ref, record, state }: Guest): Promise<void> {
    await this.arrangeDisks(ref, state);
    await this.arrangeSize(ref, record, state);
    const hardware = state.rescueHardware ?? state.hardware;
    if (hardware) await this.arrangeHardware(ref, record, hardware);
  }

  private async arrangeSize(ref: Ref, record: VmRecord, state: GuestState): Promise<void> {
    const memory = state.size.memoryMib * 2 ** 20;
    if (wholeNumber(record.memory_static_max) !== memory)
      await this.xapi.call('VM.set_memory_limits', ref, memory, memory, memory, memory);
    const { vcpus } = state.size;
    const set = (field: string) => this.xapi.call(`VM.set_${field}`, ref, vcpus);
    if (vcpus > wholeNumber(record.VCPUs_max)) await set('VCPUs_max');
    if (vcpus !== wholeNumber(record.VCPUs_at_startup)) await set('VCPUs_at_startup');
    if (vcpus < wholeNumber(record.VCPUs_max)) await set('VCPUs_max');
  }

  private async arrangeHardware(ref: Ref, record: VmRecord, hardware: Hardware): Promise<void> {
    const { domain, firmware } = hardware;
    const isHvm = domain === 'hvm';
    const now = hardwareOf(record);
    const platform = platformWith(record.platform, hardware);
    if (!isDeepStrictEqual(platform, { ...record.platform })) await this.xapi.call('VM.set_platform', ref, platform);
    if (now.domain !== domain) {
      // The loader comes first: whoever is cut off in between finds the old type, and sets both.
      await this.xapi.call('VM.set_PV_bootloader', ref, isHvm ? '' : 'pygrub');
      await this.xapi.call('VM.set_domain_type', ref, domain);
    }
    const { HVM_boot_params: params } = record;
    if (isHvm && (now.firmware !== firmware || params.order === undefined))
      await this.xapi.call('VM.set_HVM_boot_params', ref, { order: 'c', ...params, firmware });
  }

  private async arrangeDisks(vm: Ref, state: GuestState): Promise<void> {
    const wanted = new Map<Ref, LocalDisk>();
    for (const disk of attachedDisks(state)) wanted.set(await this.xapi.call('VDI.get_by_uuid', disk.vdi), disk);
    const there = new Set<Ref>();
    for (const { ref, record } of await this.vbds(vm)) {
      if (record.other_config[DISK_KEY] !== undefined) continue;
      if (record.VDI === NULL_REF) {
        // A CD that was ejected, by the guest or by a migration.
        if ([...wanted.values()].some(({ device }) => device === record.userdevice))
          await this.xapi.call('VBD.destroy', ref);
        continue;
      }
      const disk = wanted.get(record.VDI);
      if (disk && disk.device === record.userdevice) there.add(record.VDI);
      else if (disk || (await this.isLocal(record.VDI, state.serverId))) await this.xapi.call('VBD.destroy', ref);
    }
    const first = attachedDisks(state)[0]?.vdi;
    for (const [vdi, disk] of wanted)
      if (!there.has(vdi)) await this.makeVbd(vm, vdi, { ...disk, bootable: disk.vdi === first });
  }

  /** What lies at the places of local disks, whatever its mark: copies that a migration made have none. */
  async localVdis({ ref, state }: Guest): Promise<Map<string, Ref>> {
    const places = new Set(attachedDisks(state).map(({ device }) => device));
    const found = new Map<string, Ref>();
    for (const { record } of await this.vbds(ref))
      if (record.other_config[DISK_KEY] === undefined && record.VDI !== NULL_REF && places.has(record.userdevice))
        found.set(record.userdevice, record.VDI);
    return found;
  }

  /** The config drive of a guest that runs, where it was ejected. A guest that does not take it has it at its next start. */
  async insertConfig({ ref, state }: Guest): Promise<void> {
    const config = attachedDisks(state).find(({ role }) => role === 'config');
    if (!config) return;
    const drive = (await this.vbds(ref)).find(({ record }) => record.userdevice === config.device);
    if (drive?.record.type !== 'CD' || drive.record.VDI !== NULL_REF) return;
    try {
      const vdi = await this.xapi.call<Ref>('VDI.get_by_uuid', config.vdi);
      await this.xapi.run('VBD.insert', [drive.ref, vdi]);
    } catch (error) {
      if (!isXapiError(error)) throw error;
    }
  }

  /** A disk that is gone needs no place either. */
  private async isLocal(vdi: Ref, serverId: ServerId): Promise<boolean> {
    try {
      const { other_config } = await this.xapi.call<VdiRecord>('VDI.get_record', vdi);
      return readDiskMark(other_config)?.serverId === serverId;
    } catch (error) {
      if (xapiCode(error) === 'HANDLE_INVALID') return true;
      throw error;
    }
  }

  private makeVbd(
    vm: Ref,
    vdi: Ref,
    {
      role,
      device,
      bootable,
      readOnly = false,
      diskId,
    }: {
      readonly role?: string;
      readonly device: string;
      readonly bootable: boolean;
      readonly readOnly?: boolean;
      readonly diskId?: string;
    },
  ): Promise<Ref> {
    const cd = role === 'config';
    return this.xapi.call('VBD.create', {
      ...{ VM: vm, VDI: vdi, userdevice: device, bootable, empty: false, unpluggable: true },
      type: cd ? 'CD' : 'Disk',
      mode: cd || readOnly ? 'RO' : 'RW',
      other_config: diskId === undefined ? {} : { [DISK_KEY]: diskId },
      ...{ qos_algorithm_type: '', qos_algorithm_params: {} },
    });
  }

  /** The VM, which is off, has exactly these ports; interfaces that stand for none are left alone. */
  async arrangeNics(vm: Ref, planned: readonly PlannedNic[]): Promise<void> {
    const used: string[] = [];
    const there = new Set<string>();
    for (const { ref, record } of await this.vifs(vm)) {
      const port = record.other_config[PORT_KEY];
      const wanted = planned.find(({ nic }) => nic.portId === port);
      if (port === undefined || (wanted && isAsPlanned(record, wanted))) {
        used.push(record.device);
        if (port !== undefined) there.add(port);
      } else await this.xapi.call('VIF.destroy', ref);
    }
    for (const nic of planned) {
      if (there.has(nic.nic.portId)) continue;
      const device = firstFree(used, 0);
      used.push(device);
      await this.makeVif(vm, nic, device);
    }
  }

  private makeVif(vm: Ref, { nic, network, lock }: PlannedNic, device: string): Promise<Ref> {
    return this.xapi.call('VIF.create', {
      ...{ VM: vm, network, device, MAC: nic.mac, MTU: nic.mtu, ...lock },
      other_config: { [PORT_KEY]: nic.portId },
      ...{ qos_algorithm_type: '', qos_algorithm_params: {} },
    });
  }

  /** Cold or hot; a guest that cannot take it keeps nothing of it. */
  async attachNic({ ref: vm, record: { power_state } }: Guest, planned: PlannedNic): Promise<void> {
    const vifs = await this.vifs(vm);
    const same = vifs.find(({ record }) => record.other_config[PORT_KEY] === planned.nic.portId);
    if (same) await this.relock(same, planned.lock);
    const used = vifs.map(({ record }) => record.device);
    if (!same && used.length >= MOST_NICS)
      throw new HypervisorError('unsupported', `a guest of this pool has at most ${MOST_NICS} network interfaces`);
    const ref = same?.ref ?? (await this.makeVif(vm, planned, firstFree(used, 0)));
    if (power_state !== 'Running' || same?.record.currently_attached) return;
    try {
      await this.xapi.run('VIF.plug', [ref]);
    } catch (error) {
      if (xapiCode(error) === 'DEVICE_ALREADY_ATTACHED') return;
      if (!same) await this.xapi.call('VIF.destroy', ref).catch(() => undefined);
      throw error;
    }
  }

  /** The interfaces that are there get the locks of their ports; none comes or goes. @throws HypervisorError `unsupported` */
  async relockNics(vm: Ref, nics: readonly GuestNic[]): Promise<void> {
    const there = (await this.vifs(vm)).flatMap((vif) => {
      const nic = nics.find(({ portId }) => portId === vif.record.other_config[PORT_KEY]);
      return nic ? [{ vif, lock: lockOf(nic) }] : [];
    });
    for (const { vif, lock } of there) await this.relock(vif, lock);
  }

  /** Who the guest may be has changed, also while it runs. */
  async relock({ ref, record }: Plugged<VifRecord>, lock: VifLock): Promise<void> {
    if (sameLock(record, lock)) return;
    const setMode = () => this.xapi.call('VIF.set_locking_mode', ref, lock.locking_mode);
    // A lock comes first on what is open and goes last; what is cut off opens once its addresses are set.
    const isLockedFirst = lock.locking_mode === 'locked' && record.locking_mode !== CUT_OFF;
    if (isLockedFirst) await setMode();
    await this.xapi.call('VIF.set_ipv4_allowed', ref, lock.ipv4_allowed);
    await this.xapi.call('VIF.set_ipv6_allowed', ref, lock.ipv6_allowed);
    if (!isLockedFirst) await setMode();
  }

  /** The member's switch lets nothing pass, whatever the guest does, until the port is attached again or made anew. */
  async cutOffNic(guest: Guest, portId: string): Promise<void> {
    const vif = await this.vifOf(guest, portId);
    if (!vif) return;
    try {
      await this.xapi.call('VIF.set_locking_mode', vif.ref, CUT_OFF);
    } catch (error) {
      // An account that may not do that may still take the interface from a guest that lets go of it.
      if (xapiCode(error) !== 'RBAC_PERMISSION_DENIED') throw error;
      await this.unplug('VIF', guest, vif);
    }
  }

  async detachNic(guest: Guest, portId: string): Promise<void> {
    const vif = await this.vifOf(guest, portId);
    if (vif) await this.unplug('VIF', guest, vif);
  }

  private async vifOf({ ref }: Guest, portId: string): Promise<Plugged<VifRecord> | undefined> {
    return (await this.vifs(ref)).find(({ record }) => record.other_config[PORT_KEY] === portId);
  }

  async attachDisk({ ref: vm, record: { power_state } }: Guest, disk: GuestDisk): Promise<void> {
    const { connection } = disk;
    if (connection.kind === 'nbd') throw new HypervisorError('unsupported', 'this pool attaches its own disks only');
    if (disk.bus !== null && disk.bus !== 'xen')
      throw new HypervisorError('unsupported', `this pool cannot attach a disk to the bus ${disk.bus}`);
    const vbds = await this.vbds(vm);
    const same = vbds.find(({ record }) => record.other_config[DISK_KEY] === disk.diskId);
    const used = vbds.map(({ record }) => record.userdevice);
    const ref =
      same?.ref ??
      (await this.makeVbd(vm, await this.xapi.call('VDI.get_by_uuid', connection.path), {
        device: firstFree(used, FIRST_ATTACHED),
        bootable: disk.bootIndex !== null,
        readOnly: disk.readOnly,
        diskId: disk.diskId,
      }));
    if (power_state !== 'Running' || same?.record.currently_attached) return;
    try {
      await this.xapi.run('VBD.plug', [ref]);
    } catch (error) {
      if (xapiCode(error) === 'DEVICE_ALREADY_ATTACHED') return;
      if (!same) await this.xapi.call('VBD.destroy', ref).catch(() => undefined);
      throw error;
    }
  }

  async detachDisk(guest: Guest, diskId: string): Promise<void> {
    const vbd = (await this.vbds(guest.ref)).find(({ record }) => record.other_config[DISK_KEY] === diskId);
    if (vbd) await this.unplug('VBD', guest, vbd);
  }

  private async unplug(
    kind: 'VBD' | 'VIF',
    { record: { power_state } }: Guest,
    { ref, record }: Plugged<{ readonly currently_attached: boolean }>,
  ): Promise<void> {
    if (power_state !== 'Halted' && record.currently_attached)
      try {
        await this.xapi.run(`${kind}.unplug`, [ref]);
      } catch (error) {
        if (xapiCode(error) !== 'DEVICE_ALREADY_DETACHED') throw error;
      }
    await this.xapi.call(`${kind}.destroy`, ref);
  }

  private records<R>(refs: readonly Ref[], kind: string): Promise<Plugged<R>[]> {
    return Promise.all(refs.map(async (ref) => ({ ref, record: await this.xapi.call<R>(`${kind}.get_record`, ref) })));
  }
}

const isAsPlanned = (record: VifRecord, { nic, network, lock }: PlannedNic): boolean =>
  record.network === network && record.MAC.toLowerCase() === nic.mac.toLowerCase() && sameLock(record, lock);
