import { z } from 'zod';
import { ANY, refusesAllBut, type ServedWishes } from '../../common/wishes.js';
import { type GuestSpec, HypervisorError } from '../../hypervisor-driver.js';
import { NULL_REF, type Ref, type XapiMap } from './records.js';

export type DomainType = 'hvm' | 'pv' | 'pvh';

/** What of a VM follows the wishes of its image and its flavor, beside its size and its devices. */
export const Hardware = z.object({
  /** XAPI's; an adopted VM may have any. */
  domain: z.string(),
  firmware: z.string(),
  platform: z.record(z.string(), z.string()),
});
export type Hardware = Readonly<z.output<typeof Hardware>>;

const CORES = 'cores-per-socket';
const FOLLOWED = [CORES, 'vga', 'nic_type', 'secureboot', 'viridian'];

/** What the members of the pool can run. */
export interface Capabilities {
  readonly hvm: boolean;
  readonly pv: boolean;
  /** Since Citrix Hypervisor 8.0 and 8.1. */
  readonly uefi: boolean;
  readonly secureBoot: boolean;
}

/** What a template of the pool says of a machine, e.g. what Windows wants of its platform. */
export interface Template {
  readonly platform: XapiMap;
  readonly HVM_boot_params: XapiMap;
  readonly recommendations: string;
}

/** What every machine of the pool is made by. */
export interface Frame {
  readonly capabilities: Capabilities;
  readonly template: Template;
}

/** Fields of a VM that `Hardware` is. */
export interface Shaped {
  readonly domain_type: string;
  readonly HVM_boot_params: XapiMap;
  readonly platform: XapiMap;
}

/** The record of a VM. */
export type Machine = Readonly<Record<string, unknown>> & Shaped;

/** What is asked of a machine. */
export interface MachineWish {
  readonly name: string;
  readonly description: string;
  readonly vcpus: number;
  readonly memoryMib: number;
  readonly extraSpecs: Readonly<Record<string, string>>;
  /** Of the image. */
  readonly properties: Readonly<Record<string, string>>;
  /** The image has a kernel of its own. */
  readonly directBoot: boolean;
}

export const wishOf = ({ name, mark, flavor, image, directBoot }: GuestSpec): MachineWish => ({
  name,
  description: `server ${mark.serverId}`,
  vcpus: flavor.vcpus,
  memoryMib: flavor.memory,
  extraSpecs: flavor.extraSpecs,
  properties: image.properties,
  directBoot: directBoot !== null,
});

/** What the pool's own template for any operating system says. */
export const PLAIN_TEMPLATE: Template = {
  platform: { acpi: '1', apic: 'true', nx: 'true', pae: 'true', vga: 'std', videoram: '8', viridian: 'false' },
  HVM_boot_params: { order: 'cd', firmware: 'bios' },
  recommendations: '',
};

export const SERVED: ServedWishes = {
  ...{ hw_architecture: /^(x86_64|i686)$/, hw_vm_mode: ANY, hw_machine_type: /^pc$/, hw_firmware_type: ANY },
  ...{ os_secure_boot: ANY, 'os:secure_boot': ANY, cpu_sockets: ANY, cpu_cores: ANY },
  ...{ hw_disk_bus: ANY, hw_vif_model: ANY, hw_video_model: ANY },
};

const refuse = (what: string): never => {
  throw new HypervisorError('unsupported', `this pool cannot serve ${what}`);
};
const oneOf = <T extends string>(property: string, wanted: string, known: readonly T[]): T =>
  known.find((value) => value === wanted) ?? refuse(`${property}=${wanted}`);

const DOMAINS: Readonly<Record<string, DomainType>> = { hvm: 'hvm', xen: 'pv', pvh: 'pvh' };

const domainOf = (wanted: string | undefined, { hvm, pv }: Capabilities): DomainType => {
  const type = wanted === undefined ? (hvm ? 'hvm' : 'pv') : DOMAINS[wanted];
  if (!type || !(type === 'pv' ? pv : hvm)) return refuse(`hw_vm_mode=${wanted ?? 'hvm'}`);
  return type;
};

/** @throws HypervisorError `unsupported` for a wish that no guest of the pool is granted */
export const refuseWishes = refusesAllBut(SERVED, refuse);

/**
 * The record of a VM for a guest, from its image's properties and its flavor; the mark and its devices come beside it.
 * @throws HypervisorError `unsupported` for a wish that cannot be served; none is dropped silently
 */
export const machineFor = (wish: MachineWish, capabilities: Capabilities, template: Template): Machine => {
  const { properties, extraSpecs } = wish;
  const property = (name: string, otherwise: string) => properties[name] ?? otherwise;
  refuseWishes(properties, extraSpecs);
  // It would lie on one member only.
  if (wish.directBoot) refuse('a kernel outside of the disk');

  const domain = domainOf(properties.hw_vm_mode, capabilities);
  const hvm = domain === 'hvm';
  const secureBoot =
    property('os_secure_boot', 'disabled') === 'required' || extraSpecs['os:secure_boot'] === 'required';
  const wanted = oneOf('hw_firmware_type', property('hw_firmware_type', 'bios'), ['bios', 'uefi']);
  const firmware = secureBoot ? 'uefi' : wanted;
  if (firmware === 'uefi' && !(hvm && capabilities.uefi)) refuse('hw_firmware_type=uefi');
  if (secureBoot && !capabilities.secureBoot) refuse('os_secure_boot=required');
  oneOf('hw_disk_bus', property('hw_disk_bus', 'xen'), hvm ? ['xen', 'ide'] : ['xen']);
  const nic = oneOf('hw_vif_model', property('hw_vif_model', 'netfront'), [
    ...(hvm ? (['netfront', 'rtl8139', 'e1000'] as const) : (['netfront'] as const)),
  ]);
  const video = oneOf('hw_video_model', property('hw_video_model', 'vga'), hvm ? ['vga', 'cirrus'] : ['vga']);

  const memory = wish.memoryMib * 2 ** 20;
  return {
    name_label: wish.name,
    name_description: wish.description,
    ...{ memory_static_min: memory, memory_static_max: memory },
    ...{ memory_dynamic_min: memory, memory_dynamic_max: memory },
    ...{ VCPUs_max: wish.vcpus, VCPUs_at_startup: wish.vcpus, VCPUs_params: {} },
    domain_type: domain,
    HVM_boot_policy: hvm ? 'BIOS order' : '',
    HVM_boot_params: hvm ? { ...template.HVM_boot_params, order: 'c', firmware } : {},
    PV_bootloader: hvm ? '' : 'pygrub',
    platform: {
      ...template.platform,
      ...coresOf(wish),
      ...(hvm ? { vga: video === 'cirrus' ? 'cirrus' : 'std' } : {}),
      ...(nic === 'e1000' || nic === 'rtl8139' ? { nic_type: nic } : {}),
      ...(secureBoot ? { secureboot: 'true' } : {}),
      ...(properties.os_type === 'windows' ? { viridian: 'true' } : {}),
    },
    recommendations: template.recommendations,
    ...{ PV_kernel: '', PV_ramdisk: '', PV_args: '', PV_bootloader_args: '', PV_legacy_args: '', PCI_bus: '' },
    ...{ user_version: 1, is_a_template: false, has_vendor_device: false, affinity: NULL_REF as Ref },
    // A guest that ends stays off until somebody wants it on; one that resets itself comes back by itself.
    ...{ actions_after_shutdown: 'destroy', actions_after_reboot: 'restart', actions_after_crash: 'destroy' },
  };
};

/** How its CPUs are told to the guest; threads are not. */
const coresOf = ({ properties, extraSpecs, vcpus }: MachineWish): XapiMap => {
  const ask = (name: string) => extraSpecs[`hw:cpu_${name}`] ?? properties[`hw_cpu_${name}`];
  if ((ask('threads') ?? '1') !== '1') refuse(`hw_cpu_threads=${ask('threads')}`);
  const [sockets, cores] = [ask('sockets'), ask('cores')];
  const perSocket = cores ?? (sockets ? String(vcpus / Number(sockets)) : null);
  if (perSocket === null) return {};
  const fits = Number.isInteger(vcpus / Number(perSocket)) && Number.isInteger(Number(perSocket));
  if (!fits || (sockets && cores && Number(sockets) * Number(cores) !== vcpus))
    refuse(`${vcpus} vCPUs as ${sockets ?? '?'} sockets of ${perSocket} cores`);
  return { [CORES]: perSocket };
};

export const hardwareOf = ({ domain_type, HVM_boot_params, platform }: Shaped): Hardware => ({
  domain: domain_type,
  firmware: HVM_boot_params.firmware ?? 'bios',
  platform: Object.fromEntries(Object.entries(platform).filter(([key]) => FOLLOWED.includes(key))),
});

/** What a guest is while it is not rescued: as its wishes made it, or else as its VM is. */
export const ownHardware = (guest: {
  readonly state: { readonly hardware: Hardware | null };
  readonly record: Shaped;
}): Hardware => guest.state.hardware ?? hardwareOf(guest.record);

/**
 * What a VM becomes when other things are wished for: what the wishes do not change stays as it is.
 * @param now of the VM, which somebody else may have made
 * @param from by the wishes until now
 * @param to by those that come
 * @param vcpus of the VM then
 */
export const reshaped = (now: Hardware, from: Hardware, to: Hardware, vcpus: number): Hardware => {
  const platform = { ...now.platform };
  for (const key of FOLLOWED) {
    if (from.platform[key] === to.platform[key]) continue;
    if (to.platform[key] === undefined) delete platform[key];
    else platform[key] = to.platform[key];
  }
  // A pool starts none whose vCPUs do not make whole sockets.
  if (vcpus % Number(platform[CORES] ?? 1) !== 0) delete platform[CORES];
  return {
    domain: from.domain === to.domain ? now.domain : to.domain,
    firmware: from.firmware === to.firmware ? now.firmware : to.firmware,
    platform,
  };
};

/** The map of a VM with this platform; what is not followed stays. */
export const platformWith = (platform: XapiMap, { platform: wanted }: Hardware): XapiMap => ({
  ...Object.fromEntries(Object.entries(platform).filter(([key]) => !FOLLOWED.includes(key))),
  ...wanted,
});
