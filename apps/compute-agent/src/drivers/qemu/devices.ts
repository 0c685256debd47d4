import { type GuestSpec, HypervisorError } from '../hypervisor-driver.js';
import { policyOf } from './dedicated-cpus.js';
import { DiskBus, type Hardware } from './definition.js';

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
const SCSI_CONTROLLERS: Readonly<Record<string, string>> = {
  'virtio-scsi': 'virtio-scsi-pci',
  lsilogic: 'lsi53c895a',
  lsisas1068: 'mptsas1068',
  vmpvscsi: 'pvscsi',
};
const YES: Readonly<Record<string, boolean>> = { yes: true, true: true, no: false, false: false };

export const NO = /^(0|f|false|off|n|no)$/i;
const NONE = /^$/;

/** What image (`hw_…`) and flavor (`hw:…`) may ask for, and the one value of it that is served here. */
const ONLY: Readonly<Record<string, RegExp>> = {
  cpu_realtime: NO,
  cpu_realtime_mask: NONE,
  cpu_dedicated_mask: NONE,
  emulator_threads_policy: /^share$/,
  mem_encryption: NO,
  numa_nodes: /^1$/,
  pci_numa_affinity_policy: NONE,
  pmem: NONE,
  rng_model: /^virtio$/,
  serial_port_count: /^1$/,
  tpm_version: /^2\.0$/,
  vif_multiqueue_enabled: NO,
  viommu_model: NONE,
};

/** Extra specs that ask for something this backend does not do; a guest without it would not be what was bought. */
const REFUSED_EXTRA_SPECS = [
  /^quota:vif_/,
  /^quota:(cpu|memory|disk_io)_(limit|reservation|shares_level|shares_share)$/,
  /^quota:disk_\w+_sec_max$/,
  /^pci_passthrough:alias$/,
  /^accel:device_profile$/,
];

const choose = <T>(table: Readonly<Record<string, T>>, property: string, wanted: string): T => {
  if (!Object.hasOwn(table, wanted))
    throw new HypervisorError('unsupported', `this host cannot serve ${property}=${wanted}`);
  return table[wanted]!;
};

/** @throws HypervisorError `unsupported` for a wish that nothing here knows how to grant */
export const refuseWishes = ({ image, flavor }: Pick<GuestSpec, 'image' | 'flavor'>): void => {
  policyOf({ image, flavor });
  for (const [key, value] of Object.entries(flavor.extraSpecs))
    if (REFUSED_EXTRA_SPECS.some((refused) => refused.test(key)))
      throw new HypervisorError('unsupported', `this host cannot serve the extra spec ${key}=${value}`);
  for (const [name, only] of Object.entries(ONLY))
    for (const [key, wanted] of [
      [`hw:${name}`, flavor.extraSpecs[`hw:${name}`]],
      [`hw_${name}`, image.properties[`hw_${name}`]],
    ])
      if (wanted !== undefined && !only.test(wanted))
        throw new HypervisorError('unsupported', `this host cannot serve ${key}=${wanted}`);
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
  /** Nova lets the flavor decide where both may. */
  const either = (name: string, otherwise: string) =>
    flavor.extraSpecs[`hw:${name}`] ?? property(`hw_${name}`, otherwise);

  const architecture = image.properties.hw_architecture ?? property('architecture', 'x86_64');
  choose({ x86_64: true, amd64: true, i686: true }, 'hw_architecture', architecture);
  const secureBoot =
    property('os_secure_boot', 'disabled') === 'required' || flavor.extraSpecs['os:secure_boot'] === 'required';
  const wanted = choose(
    { bios: 'bios', uefi: 'uefi' } as const,
    'hw_firmware_type',
    property('hw_firmware_type', 'bios'),
  );
  const firmware = secureBoot ? 'secureBoot' : wanted;

  const type = property('hw_machine_type', secureBoot ? 'q35' : 'pc');
  const machine = type === 'pc' ? machines.pc : type === 'q35' ? machines.q35 : type;
  const isQ35 = machine.startsWith('pc-q35');
  if (!machines.all.has(machine) || !(isQ35 || machine.startsWith('pc-i440fx')))
    throw new HypervisorError('unsupported', `this host cannot serve hw_machine_type=${type}`);
  if (secureBoot && !isQ35)
    throw new HypervisorError('unsupported', `secure boot needs hw_machine_type=q35, not ${type}`);

  const watchdog = either('watchdog_action', 'disabled');
  const tpm = either('tpm_version', '') === '' ? null : either('tpm_model', 'tpm-tis');
  return {
    machine,
    firmware,
    diskBus: diskBus('hw_disk_bus', property('hw_disk_bus', 'virtio'), isQ35),
    scsiController: choose(SCSI_CONTROLLERS, 'hw_scsi_model', property('hw_scsi_model', 'virtio-scsi')),
    cdromBus: cdromBus(property('hw_cdrom_bus', isQ35 ? 'scsi' : 'ide'), isQ35),
    nicModel: choose(NIC_MODELS, 'hw_vif_model', property('hw_vif_model', 'virtio')),
    video: choose(VIDEO_MODELS, 'hw_video_model', property('hw_video_model', 'vga')),
    tablet: choose({ usbtablet: true, ps2mouse: false }, 'hw_pointer_model', property('hw_pointer_model', 'ps2mouse')),
    watchdog: choose(
      { disabled: null, reset: 'reset', poweroff: 'poweroff', pause: 'pause', none: 'none' } as const,
      'hw_watchdog_action',
      watchdog,
    ),
    tpm: tpm === null ? null : choose({ 'tpm-tis': 'tpm-tis', 'tpm-crb': 'tpm-crb' } as const, 'hw_tpm_model', tpm),
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
    throw new HypervisorError('unsupported', `this host cannot serve ${property}=${wanted} on this machine type`);
  return bus.data;
};

/** The bus for the disk of a rescue; null: that of the guest's own. @throws HypervisorError `unsupported` */
export const rescueBus = ({ properties }: GuestSpec['image'], isQ35: boolean): DiskBus | null => {
  const { hw_rescue_bus: wanted, hw_rescue_device: device = 'disk' } = properties;
  choose({ disk: true }, 'hw_rescue_device', device);
  return wanted === undefined ? null : diskBus('hw_rescue_bus', wanted, isQ35);
};

const cdromBus = (wanted: string, isQ35: boolean): Hardware['cdromBus'] => {
  const bus = diskBus('hw_cdrom_bus', wanted, isQ35);
  if (bus === 'virtio') throw new HypervisorError('unsupported', 'this host cannot serve hw_cdrom_bus=virtio');
  return bus;
};
