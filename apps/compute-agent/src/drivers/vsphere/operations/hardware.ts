import type { HardwareWishes } from '@omnivisor/contracts';
import { z } from 'zod';
import { ANY, refusesAllBut, type ServedWishes } from '../../common/wishes.js';
import { type GuestSpec, HypervisorError } from '../../hypervisor-driver.js';

/** What is asked of a machine. */
export interface MachineWish {
  readonly vcpus: number;
  readonly memoryMib: number;
  readonly extraSpecs: Readonly<Record<string, string>>;
  /** Of the image. */
  readonly properties: Readonly<Record<string, string>>;
  /** The image has a kernel of its own. */
  readonly directBoot: boolean;
}

const Allocation = z.object({
  reservation: z.number(),
  limit: z.number(),
  shares: z.object({ shares: z.number(), level: z.string() }),
});

/** Fields of a VM's configuration. */
export const Config = z
  .object({
    ...{ guestId: z.string(), numCPUs: z.number(), numCoresPerSocket: z.number(), memoryMB: z.number() },
    ...{ cpuAllocation: Allocation, memoryAllocation: Allocation },
    ...{ firmware: z.string(), bootOptions: z.object({ efiSecureBootEnabled: z.boolean() }) },
  })
  .partial();
export type Config = z.infer<typeof Config>;

export interface Machine {
  readonly config: Config;
  /** Type of the controller that its disks are on. */
  readonly controller: string;
  /** Whether a guest that has another one may keep it; `unknown`: where nobody knows what was asked for before. */
  readonly anyController: boolean | 'unknown';
  /** Type of its network cards, unless a port says otherwise. */
  readonly nic: string;
  /** Name of the storage policy of its files. */
  readonly policy: string | null;
}

export const wishOf = ({ flavor, image, directBoot }: GuestSpec): MachineWish => ({
  vcpus: flavor.vcpus,
  memoryMib: flavor.memory,
  extraSpecs: flavor.extraSpecs,
  properties: image.properties,
  directBoot: directBoot !== null,
});

/** Of a guest that is there. */
export const wishOfGuest = (
  size: Pick<MachineWish, 'vcpus' | 'memoryMib'>,
  { properties, extraSpecs }: HardwareWishes,
): MachineWish => ({ ...size, properties, extraSpecs, directBoot: false });

const refuse = (what: string): never => {
  throw new HypervisorError('unsupported', `this host cannot serve ${what}`);
};

const known = (table: Readonly<Record<string, string>>, name: string): string | undefined =>
  Object.hasOwn(table, name) ? table[name] : undefined;

const CONTROLLERS: Readonly<Record<string, string>> = {
  vmpvscsi: 'ParaVirtualSCSIController',
  lsisas1068: 'VirtualLsiLogicSASController',
  lsilogic: 'VirtualLsiLogicController',
  buslogic: 'VirtualBusLogicController',
};
const NICS: Readonly<Record<string, string>> = {
  vmxnet3: 'VirtualVmxnet3',
  e1000: 'VirtualE1000',
  e1000e: 'VirtualE1000e',
};

/** The name of a type of controllers. */
export const controllerModel = (type: string | undefined): string | undefined =>
  Object.keys(CONTROLLERS).find((name) => CONTROLLERS[name] === type);

/** Type of a network card. @throws HypervisorError `unsupported` */
export const nicType = (model: string): string => known(NICS, model) ?? refuse(`hw_vif_model=${model}`);

type Properties = Readonly<Record<string, string>>;

/** Windows before 2022 brings no drivers of VMware's own devices. */
const isWindows = (properties: Properties): boolean => properties.os_type === 'windows';

/** That of cards of ports that do not say theirs. */
export const cardOf = (wishes: Pick<HardwareWishes, 'properties'> | null): string => {
  const properties = wishes?.properties ?? {};
  return nicType(properties.hw_vif_model ?? (isWindows(properties) ? 'e1000e' : 'vmxnet3'));
};

/** Whether cards of this type can be made. */
export const isCardType = (type: string): boolean => Object.values(NICS).includes(type);

/** What every VM has for a screen is VMware's own card. */
export const SERVED: ServedWishes = {
  ...{
    hw_architecture: /^(x86_64|i686)$/,
    hw_vm_mode: /^hvm$/,
    hw_machine_type: /^pc$/,
    hw_firmware_type: /^(bios|uefi)$/,
  },
  ...{ os_secure_boot: ANY, 'os:secure_boot': ANY, cpu_sockets: ANY, cpu_cores: ANY },
  ...{ hw_disk_bus: /^scsi$/, hw_scsi_model: ANY, hw_vif_model: ANY, hw_video_model: /^(vga|vmvga)$/ },
  ...{ 'quota:cpu_limit': ANY, 'quota:cpu_reservation': ANY },
  ...{ 'quota:cpu_shares_level': ANY, 'quota:cpu_shares_share': ANY },
  ...{ 'quota:memory_limit': ANY, 'quota:memory_reservation': ANY },
  ...{ 'quota:memory_shares_level': ANY, 'quota:memory_shares_share': ANY },
  'vmware:storage_policy': ANY,
};

/** @throws HypervisorError `unsupported` for a wish that no guest of the vCenter is granted */
export const refuseWishes = refusesAllBut(SERVED, refuse);

const GUEST_ID = 'otherLinux64Guest';
/** Windows Server 2016 and later. Newer ones have ids of their own, which older vCenters and virtual hardware refuse. */
const WINDOWS_ID = 'windows9Server64Guest';

/**
 * The configuration of a VM for a guest, from its image's properties and its flavor; its name, mark and devices come
 * beside it.
 * @throws HypervisorError `unsupported` for a wish that cannot be served; none is dropped silently
 */
export const machineFor = (wish: MachineWish): Machine => {
  const { properties, extraSpecs } = wish;
  const property = (name: string, otherwise: string) => properties[name] ?? otherwise;
  refuseWishes(properties, extraSpecs);
  if (wish.directBoot) refuse('a kernel outside of the disk');

  const secureBoot =
    property('os_secure_boot', 'disabled') === 'required' || extraSpecs['os:secure_boot'] === 'required';
  const firmware = property('hw_firmware_type', secureBoot ? 'uefi' : 'bios');
  if (secureBoot && firmware !== 'uefi') refuse('secure boot without hw_firmware_type=uefi');

  return {
    ...controllerOf(properties),
    nic: cardOf(wish),
    policy: extraSpecs['vmware:storage_policy'] ?? null,
    config: {
      guestId: property('vmware_ostype', isWindows(properties) ? WINDOWS_ID : GUEST_ID),
      numCPUs: wish.vcpus,
      numCoresPerSocket: coresOf(wish),
      memoryMB: wish.memoryMib,
      cpuAllocation: allocationOf(extraSpecs, 'cpu'),
      memoryAllocation: allocationOf(extraSpecs, 'memory'),
      firmware: firmware === 'uefi' ? 'efi' : 'bios',
      // Of a VM with BIOS, the vCenter refuses even the wish for none.
      bootOptions: firmware === 'uefi' ? { efiSecureBootEnabled: secureBoot } : undefined,
    },
  };
};

const controllerOf = (properties: Properties): Pick<Machine, 'controller' | 'anyController'> => {
  const { hw_scsi_model: model, vmware_adaptertype: adapter } = properties;
  const name = model === undefined && adapter !== undefined ? 'vmware_adaptertype' : 'hw_scsi_model';
  const asked = model ?? adapter;
  const wanted = asked ?? (isWindows(properties) ? 'lsisas1068' : 'vmpvscsi');
  return {
    controller: known(CONTROLLERS, wanted) ?? refuse(`${name}=${wanted}`),
    // A Windows of an older release's guest has started with what that has.
    anyController: asked === undefined && (isWindows(properties) ? 'unknown' : true),
  };
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

/** As Nova has it: 0 bounds nothing. */
const NO_BOUND = /^(0|-1)$/;
const LEVELS = ['low', 'normal', 'high', 'custom'];

/** Nova's `quota:cpu_…` (MHz) and `quota:memory_…` (MiB), whole: what a VM is not told it keeps. */
const allocationOf = (extraSpecs: Readonly<Record<string, string>>, resource: 'cpu' | 'memory') => {
  const ask = (name: string) => extraSpecs[`quota:${resource}_${name}`];
  const amount = (name: string): number | undefined => {
    const text = ask(name);
    if (text === undefined || NO_BOUND.test(text)) return undefined;
    return /^\d+$/.test(text) ? Number(text) : refuse(`quota:${resource}_${name}=${text}`);
  };
  const [limit, reservation, share] = [amount('limit'), amount('reservation'), amount('shares_share')];
  const level = ask('shares_level') ?? (share === undefined ? 'normal' : 'custom');
  if (!LEVELS.includes(level)) refuse(`quota:${resource}_shares_level=${level}`);
  return { reservation: reservation ?? 0, limit: limit ?? -1, shares: { shares: share ?? 0, level } };
};
