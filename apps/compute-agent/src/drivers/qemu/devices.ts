import { type GuestSpec, HypervisorError } from '../hypervisor-driver.js';
import type { GuestDefinition } from './definition.js';

type Devices = Pick<GuestDefinition, 'machine' | 'firmware' | 'diskBus' | 'nicModel' | 'video'>;

/** Machine types as `qemu -machine help` tells them: the versioned name behind each alias, and every name. */
export interface MachineTypes {
  readonly pc: string;
  readonly q35: string;
  readonly all: ReadonlySet<string>;
}

const NIC_MODELS: Readonly<Record<string, string>> = {
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
const DISK_BUSES: Readonly<Record<string, GuestDefinition['diskBus']>> = {
  virtio: 'virtio',
  scsi: 'scsi',
  ide: 'ide',
  sata: 'sata',
};

/** Extra specs that ask for something this backend does not do; a guest without it would not be what was bought. */
const REFUSED_EXTRA_SPECS: Readonly<Record<string, RegExp>> = {
  'hw:cpu_policy': /^(dedicated|mixed)$/,
  'hw:numa_nodes': /^(?!1$)./,
  'hw:mem_page_size': /./,
  'hw:mem_encryption': /^true$/i,
  'pci_passthrough:alias': /./,
};

const choose = <T>(table: Readonly<Record<string, T>>, property: string, wanted: string): T => {
  if (!Object.hasOwn(table, wanted))
    throw new HypervisorError('unsupported', `this host cannot serve ${property}=${wanted}`);
  return table[wanted]!;
};

/**
 * The hardware a guest gets, from its image's properties and its flavor.
 * @throws HypervisorError `unsupported` for a wish that cannot be served; none is dropped silently
 */
export const devicesFor = ({ image, flavor }: GuestSpec, machines: MachineTypes): Devices => {
  const property = (name: string, otherwise: string) => image.properties[name] ?? otherwise;
  for (const [key, refused] of Object.entries(REFUSED_EXTRA_SPECS))
    if (refused.test(flavor.extraSpecs[key] ?? ''))
      throw new HypervisorError(
        'unsupported',
        `this host cannot serve the extra spec ${key}=${flavor.extraSpecs[key]}`,
      );

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

  const diskBus = choose(DISK_BUSES, 'hw_disk_bus', property('hw_disk_bus', 'virtio'));
  if ((diskBus === 'ide' && isQ35) || (diskBus === 'sata' && !isQ35))
    throw new HypervisorError('unsupported', `hw_disk_bus=${diskBus} does not exist on machine type ${type}`);
  return {
    machine,
    firmware,
    diskBus,
    nicModel: choose(NIC_MODELS, 'hw_vif_model', property('hw_vif_model', 'virtio')),
    video: choose(VIDEO_MODELS, 'hw_video_model', property('hw_video_model', 'vga')),
  };
};
