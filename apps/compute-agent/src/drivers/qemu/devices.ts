import type { HardwareWishes } from '@omnivisor/contracts';
import { ANY, refusesAllBut, type ServedWishes } from '../common/wishes.js';
import { type GuestSpec, HypervisorError } from '../hypervisor-driver.js';
import { type CpuWishes, policyOf } from './dedicated-cpus.js';
import { DiskBus, type FlavorDevices, type Hardware } from './definition.js';

/** Machine types as `qemu -machine help` tells them: the versioned name behind each alias, and every name. */
export interface MachineTypes {
  readonly pc: string;
  readonly q35: string;
  readonly all: ReadonlySet<string>;
}

export const NIC_MODELS: Readonly<Record<string, string>> = {
  virtio: 'virtio-net-pci',
  e1000: 'e1000',
  e1000e: 'e1000e',
  rtl8139: 'rtl8139',
  ne2k_pci: 'ne2k_pci',
  pcnet: 'pcnet',
  vmxnet3: 'vmxnet3',
};
const VIDEO_MODELS: Readonly<Record<string, string | null>> = {
  vga: 'VGA',
  cirrus: 'cirrus-vga',
  vmvga: 'vmware-svga',
  virtio: 'virtio-vga',
  bochs: 'bochs-display',
  none: null,
};
export const SCSI_CONTROLLERS: Readonly<Record<string, string>> = {
  'virtio-scsi': 'virtio-scsi-pci',
  lsilogic: 'lsi53c895a',
  lsisas1068: 'mptsas1068',
  vmpvscsi: 'pvscsi',
};
const YES: Readonly<Record<string, boolean>> = { yes: true, true: true, no: false, false: false };

const LIMITS = {
  ...{ 'quota:cpu_shares': ANY, 'quota:cpu_period': ANY, 'quota:cpu_quota': ANY },
  ...{ 'quota:disk_read_bytes_sec': ANY, 'quota:disk_write_bytes_sec': ANY, 'quota:disk_total_bytes_sec': ANY },
  ...{ 'quota:disk_read_iops_sec': ANY, 'quota:disk_write_iops_sec': ANY, 'quota:disk_total_iops_sec': ANY },
};

/** Rescue images are looked at when a guest is rescued. */
export const SERVED: ServedWishes = {
  ...{ hw_architecture: /^(x86_64|i686)$/, hw_vm_mode: /^hvm$/, hw_machine_type: ANY, hw_firmware_type: ANY },
  ...{ os_secure_boot: ANY, 'os:secure_boot': ANY, tpm_version: /^2\.0$/ },
  ...{ cpu_policy: ANY, cpu_thread_policy: ANY, os_require_quiesce: ANY },
  ...{ cpu_sockets: ANY, cpu_cores: ANY, cpu_threads: ANY },
  ...{ cpu_max_sockets: ANY, cpu_max_cores: ANY, cpu_max_threads: ANY },
  ...{ mem_page_size: ANY, locked_memory: ANY },
  ...{ hw_disk_bus: ANY, hw_scsi_model: ANY, hw_cdrom_bus: ANY, hw_rescue_bus: ANY, hw_rescue_device: ANY },
  ...{ hw_vif_model: ANY, hw_video_model: ANY, hw_pointer_model: ANY, watchdog_action: ANY },
  ...{ hw_rng_model: /^virtio$/, time_hpet: ANY },
  ...LIMITS,
};

const refuse = (what: string): never => {
  throw new HypervisorError('unsupported', `this host cannot serve ${what}`);
};

const choose = <T>(table: Readonly<Record<string, T>>, property: string, wanted: string): T => {
  if (!Object.hasOwn(table, wanted)) return refuse(`${property}=${wanted}`);
  return table[wanted]!;
};

/** @throws HypervisorError `unsupported` for a wish that nothing here knows how to grant, whatever else is asked */
export const refuseUnserved = refusesAllBut(SERVED, refuse);

/** @throws HypervisorError `unsupported` for a wish that nothing here knows how to grant */
export const refuseWishes = ({ image, flavor }: CpuWishes): void => {
  policyOf({ image, flavor });
  refuseUnserved(image.properties, flavor.extraSpecs);
};

/** What image and flavor ask for, in their own words. Nova lets the flavor decide where both may. */
const asked = ({ properties, extraSpecs }: HardwareWishes) => {
  const either = (name: string, otherwise: string) => extraSpecs[`hw:${name}`] ?? properties[`hw_${name}`] ?? otherwise;
  return {
    secureBoot: properties.os_secure_boot === 'required' || extraSpecs['os:secure_boot'] === 'required',
    watchdog: either('watchdog_action', 'disabled'),
    tpm: either('tpm_version', '') === '' ? null : either('tpm_model', 'tpm-tis'),
  };
};

const WATCHDOGS = { disabled: null, reset: 'reset', poweroff: 'poweroff', pause: 'pause', none: 'none' } as const;
const watchdogOf = (wanted: string): Hardware['watchdog'] => choose(WATCHDOGS, 'hw_watchdog_action', wanted);

const TPMS = { 'tpm-tis': 'tpm-tis', 'tpm-crb': 'tpm-crb' } as const;
const tpmOf = (wanted: string | null): Hardware['tpm'] =>
  wanted === null ? null : choose(TPMS, 'hw_tpm_model', wanted);

/**
 * What a guest has with another flavor. Where both want the same it stays as it is, whatever an older release made of it.
 * @throws HypervisorError `unsupported`, also for another firmware
 */
export const resizedDevices = (
  guest: Pick<Hardware, 'firmware' | 'watchdog' | 'tpm'>,
  from: HardwareWishes,
  to: HardwareWishes,
): FlavorDevices => {
  const [was, will] = [asked(from), asked(to)];
  if (was.secureBoot !== will.secureBoot && will.secureBoot !== (guest.firmware === 'secureBoot'))
    throw new HypervisorError('unsupported', 'a resize does not change the firmware of a guest (os:secure_boot)');
  return {
    watchdog: was.watchdog === will.watchdog ? guest.watchdog : watchdogOf(will.watchdog),
    tpm: was.tpm === will.tpm ? guest.tpm : tpmOf(will.tpm),
  };
};

/**
 * The hardware a guest gets, from its image's properties and its flavor.
 * @throws HypervisorError `unsupported` for a wish that cannot be served; none is dropped silently
 */
export const devicesFor = (
  { image, flavor }: Pick<GuestSpec, 'image' | 'flavor'>,
  machines: MachineTypes,
): Hardware => {
  refuseWishes({ image, flavor });
  const property = (name: string, otherwise: string) => image.properties[name] ?? otherwise;
  const { secureBoot, watchdog, tpm } = asked({ properties: image.properties, extraSpecs: flavor.extraSpecs });
  const wanted = choose(
    { bios: 'bios', uefi: 'uefi' } as const,
    'hw_firmware_type',
    property('hw_firmware_type', 'bios'),
  );
  const firmware = secureBoot ? 'secureBoot' : wanted;

  const type = property('hw_machine_type', secureBoot ? 'q35' : 'pc');
  const machine = type === 'pc' ? machines.pc : type === 'q35' ? machines.q35 : type;
  const isQ35 = machine.startsWith('pc-q35');
  if (!machines.all.has(machine) || !(isQ35 || machine.startsWith('pc-i440fx'))) refuse(`hw_machine_type=${type}`);
  if (secureBoot && !isQ35)
    throw new HypervisorError('unsupported', `secure boot needs hw_machine_type=q35, not ${type}`);

  return {
    machine,
    firmware,
    diskBus: diskBus('hw_disk_bus', property('hw_disk_bus', 'virtio'), isQ35),
    scsiController: choose(SCSI_CONTROLLERS, 'hw_scsi_model', property('hw_scsi_model', 'virtio-scsi')),
    cdromBus: cdromBus(property('hw_cdrom_bus', isQ35 ? 'scsi' : 'ide'), isQ35),
    nicModel: choose(NIC_MODELS, 'hw_vif_model', property('hw_vif_model', 'virtio')),
    video: choose(VIDEO_MODELS, 'hw_video_model', property('hw_video_model', 'vga')),
    tablet: choose({ usbtablet: true, ps2mouse: false }, 'hw_pointer_model', property('hw_pointer_model', 'ps2mouse')),
    watchdog: watchdogOf(watchdog),
    tpm: tpmOf(tpm),
    hasAgent: choose(YES, 'hw_qemu_guest_agent', property('hw_qemu_guest_agent', 'no').toLowerCase()),
    ...(property('os_type', '') === 'windows' ? { windows: true } : {}),
  };
};

/** Whether hardware that another host tells of is such as this one makes. */
export const isKnownHardware = ({ nicModel, video, scsiController }: Hardware): boolean =>
  Object.values(NIC_MODELS).includes(nicModel) &&
  Object.values(VIDEO_MODELS).includes(video) &&
  Object.values(SCSI_CONTROLLERS).includes(scsiController);

/** The bus for a disk. @throws HypervisorError `unsupported` when the machine has none of that kind */
export const diskBus = (property: string, wanted: string, isQ35: boolean): DiskBus => {
  const bus = DiskBus.safeParse(wanted);
  if (!bus.success || (bus.data === 'ide' && isQ35) || (bus.data === 'sata' && !isQ35))
    return refuse(`${property}=${wanted} on this machine type`);
  return bus.data;
};

/** The bus for the disk of a rescue; null: that of the guest's own. @throws HypervisorError `unsupported` */
export const rescueBus = ({ properties }: GuestSpec['image'], isQ35: boolean): DiskBus | null => {
  choose({ disk: true }, 'hw_rescue_device', properties.hw_rescue_device ?? 'disk');
  const property = ['hw_rescue_bus', 'hw_disk_bus'].find((name) => properties[name] !== undefined);
  return property === undefined ? null : diskBus(property, properties[property]!, isQ35);
};

const cdromBus = (wanted: string, isQ35: boolean): Hardware['cdromBus'] => {
  const bus = diskBus('hw_cdrom_bus', wanted, isQ35);
  return bus === 'virtio' ? refuse('hw_cdrom_bus=virtio') : bus;
};
