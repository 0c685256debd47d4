import { type GuestSpec, HypervisorError } from '../../hypervisor-driver.js';
import type { ArgumentObject } from '../transport/soap.js';

/** What is asked of a machine. */
export interface MachineWish {
  readonly vcpus: number;
  readonly memoryMib: number;
  readonly extraSpecs: Readonly<Record<string, string>>;
  /** Of the image. */
  readonly properties: Readonly<Record<string, string>>;
}

export interface Machine {
  /** Fields of its configuration. */
  readonly config: ArgumentObject;
  /** Type of the controller that its disks are on. */
  readonly controller: string;
  /** Type of its network cards, unless a port says otherwise. */
  readonly nic: string;
  /** Name of the storage policy of its files. */
  readonly policy: string | null;
}

export const wishOf = ({ flavor, image }: GuestSpec): MachineWish => ({
  vcpus: flavor.vcpus,
  memoryMib: flavor.memory,
  extraSpecs: flavor.extraSpecs,
  properties: image.properties,
});

const refuse = (what: string): never => {
  throw new HypervisorError('unsupported', `this host cannot serve ${what}`);
};

const CONTROLLERS: Readonly<Record<string, string>> = {
  vmpvscsi: 'ParaVirtualSCSIController',
  lsisas1068: 'VirtualLsiLogicSASController',
  lsilogic: 'VirtualLsiLogicController',
  buslogic: 'VirtualBusLogicController',
};
/** VMware's own names for them. */
const ADAPTERS: Readonly<Record<string, string>> = {
  paraVirtual: 'vmpvscsi',
  lsiLogicsas: 'lsisas1068',
  lsiLogic: 'lsilogic',
  busLogic: 'buslogic',
};
const NICS: Readonly<Record<string, string>> = {
  vmxnet3: 'VirtualVmxnet3',
  e1000: 'VirtualE1000',
  e1000e: 'VirtualE1000e',
};

/** Type of a network card. @throws HypervisorError `unsupported` */
export const nicType = (model: string): string => NICS[model.toLowerCase()] ?? refuse(`hw_vif_model=${model}`);

/** Extra specs that ask for something this backend does not do; a guest without it would not be what was bought. */
const REFUSED_EXTRA_SPECS: Readonly<Record<string, RegExp>> = {
  'hw:cpu_policy': /^(dedicated|mixed)$/,
  'hw:numa_nodes': /^(?!1$)./,
  'hw:mem_page_size': /./,
  'hw:mem_encryption': /^true$/i,
  'hw:tpm_version': /./,
  'pci_passthrough:alias': /./,
};
const REFUSED_QUOTAS = /^quota:(disk_io|vif|disk|memory_swap)/;

const GUEST_ID = 'otherLinux64Guest';
const WINDOWS_ID = 'windows2019srv_64Guest';

/**
 * The configuration of a VM for a guest, from its image's properties and its flavor; its name, mark and devices come
 * beside it.
 * @throws HypervisorError `unsupported` for a wish that cannot be served; none is dropped silently
 */
export const machineFor = (wish: MachineWish): Machine => {
  const { properties, extraSpecs } = wish;
  const property = (name: string, otherwise: string) => properties[name] ?? otherwise;
  for (const [key, refused] of Object.entries(REFUSED_EXTRA_SPECS))
    if (refused.test(extraSpecs[key] ?? '')) refuse(`the extra spec ${key}=${extraSpecs[key]}`);
  for (const key of Object.keys(extraSpecs)) if (REFUSED_QUOTAS.test(key)) refuse(`the extra spec ${key}`);
  if (!/^(x86_64|amd64|i686)$/.test(properties.hw_architecture ?? property('architecture', 'x86_64')))
    refuse(`hw_architecture=${properties.hw_architecture ?? properties.architecture}`);
  if (property('vm_mode', 'hvm') !== 'hvm') refuse(`vm_mode=${properties.vm_mode}`);
  if (property('hw_machine_type', 'pc') !== 'pc') refuse(`hw_machine_type=${properties.hw_machine_type}`);
  if (property('hw_disk_bus', 'scsi') !== 'scsi') refuse(`hw_disk_bus=${properties.hw_disk_bus}`);

  const secureBoot =
    property('os_secure_boot', 'disabled') === 'required' || extraSpecs['os:secure_boot'] === 'required';
  const firmware = property('hw_firmware_type', secureBoot ? 'uefi' : 'bios');
  if (!['bios', 'uefi'].includes(firmware)) refuse(`hw_firmware_type=${firmware}`);
  if (secureBoot && firmware !== 'uefi') refuse('secure boot without hw_firmware_type=uefi');

  return {
    controller: controllerOf(properties),
    nic: nicType(property('hw_vif_model', 'vmxnet3')),
    policy: extraSpecs['vmware:storage_policy'] ?? null,
    config: {
      guestId: property('vmware_ostype', property('os_type', 'linux') === 'windows' ? WINDOWS_ID : GUEST_ID),
      numCPUs: wish.vcpus,
      numCoresPerSocket: coresOf(wish),
      memoryMB: wish.memoryMib,
      cpuAllocation: allocationOf(extraSpecs, 'cpu'),
      memoryAllocation: allocationOf(extraSpecs, 'memory'),
      firmware: firmware === 'uefi' ? 'efi' : 'bios',
      // Of a VM with BIOS, the vCenter refuses even the wish for none.
      bootOptions: secureBoot ? { efiSecureBootEnabled: true } : undefined,
    },
  };
};

const controllerOf = (properties: Readonly<Record<string, string>>): string => {
  const adapter = properties.vmware_adaptertype;
  const model = properties.hw_scsi_model ?? (adapter === undefined ? 'vmpvscsi' : ADAPTERS[adapter]);
  return CONTROLLERS[model ?? ''] ?? refuse(`hw_scsi_model=${model ?? adapter}`);
};

/** How its CPUs are told to the guest; threads are not. */
const coresOf = ({ properties, extraSpecs, vcpus }: MachineWish): number | undefined => {
  const ask = (name: string) => extraSpecs[`hw:cpu_${name}`] ?? properties[`hw_cpu_${name}`];
  if ((ask('threads') ?? '1') !== '1') refuse(`hw_cpu_threads=${ask('threads')}`);
  const [sockets, cores] = [ask('sockets'), ask('cores')];
  const perSocket = cores ? Number(cores) : sockets ? vcpus / Number(sockets) : null;
  if (perSocket === null) return undefined;
  const fits = Number.isInteger(perSocket) && perSocket > 0 && vcpus % perSocket === 0;
  if (!fits || (sockets && cores && Number(sockets) * perSocket !== vcpus))
    refuse(`${vcpus} vCPUs as ${sockets ?? '?'} sockets of ${perSocket} cores`);
  return perSocket;
};

const LEVELS = ['low', 'normal', 'high', 'custom'];

/** Nova's `quota:cpu_…` (MHz) and `quota:memory_…` (MiB). */
const allocationOf = (
  extraSpecs: Readonly<Record<string, string>>,
  resource: 'cpu' | 'memory',
): ArgumentObject | undefined => {
  const ask = (name: string) => extraSpecs[`quota:${resource}_${name}`];
  const amount = (name: string): number | undefined => {
    const text = ask(name);
    if (text === undefined) return undefined;
    return /^\d+$/.test(text) ? Number(text) : refuse(`quota:${resource}_${name}=${text}`);
  };
  const [limit, reservation, share] = [amount('limit'), amount('reservation'), amount('shares_share')];
  const level = ask('shares_level') ?? (share === undefined ? undefined : 'custom');
  if (level !== undefined && !LEVELS.includes(level)) refuse(`quota:${resource}_shares_level=${level}`);
  if (limit === undefined && reservation === undefined && level === undefined) return undefined;
  return { reservation, limit, shares: level === undefined ? undefined : { shares: share ?? 0, level } };
};
