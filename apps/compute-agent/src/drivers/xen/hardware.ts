import { ANY, refusesAllBut, type ServedWishes } from '../common/wishes.js';
import { type GuestNic, type GuestSpec, HypervisorError } from '../hypervisor-driver.js';
import type { DomainType, Nic } from './definition.js';

/** Types of domains that the host can run. */
export type Capabilities = Readonly<Record<DomainType, boolean>>;

const refuse = (what: string, native?: string): never => {
  throw new HypervisorError('unsupported', `Xen cannot serve ${what}`, native);
};

export const SERVED: ServedWishes = {
  ...{ hw_architecture: /^x86_64$/, hw_vm_mode: ANY, hw_machine_type: ANY, hw_firmware_type: /^bios$/ },
  ...{ hw_disk_bus: /^xen$/, hw_vif_model: /^netfront$/, hw_video_model: /^none$/ },
};

/** @throws HypervisorError `unsupported` for a wish that no guest of Xen is granted */
export const refuseWishes = refusesAllBut(SERVED, refuse);

/** Nova's `hw_vm_mode`, and the machine types that libvirt has for Xen. */
const MODES: Readonly<Record<string, DomainType>> = { xen: 'pv', pvh: 'pvh', hvm: 'hvm' };
const MACHINES: Readonly<Record<string, DomainType>> = { xenpv: 'pv', xenpvh: 'pvh', xenfv: 'hvm' };

const named = (property: string, value: string | undefined, known: Readonly<Record<string, DomainType>>) =>
  value === undefined ? undefined : Object.hasOwn(known, value) ? known[value] : refuse(`${property}=${value}`);

/**
 * The type of a guest's domain.
 * @param fallback of an image that does not say
 * @throws HypervisorError `unsupported` for a wish that cannot be served; none is dropped silently
 */
export const domainTypeFor = ({ image, flavor, directBoot }: GuestSpec, host: Capabilities, fallback: DomainType) => {
  const { properties } = image;
  refuseWishes(properties, flavor.extraSpecs);

  const byMode = named('hw_vm_mode', properties.hw_vm_mode, MODES);
  const byMachine = named('hw_machine_type', properties.hw_machine_type, MACHINES);
  if (byMode && byMachine && byMode !== byMachine) refuse(`hw_machine_type=${properties.hw_machine_type} as ${byMode}`);
  const firmware = properties.hw_firmware_type === 'bios' ? ('hvm' as const) : undefined;
  const type = byMode ?? byMachine ?? firmware ?? fallback;
  if (firmware && type !== firmware) refuse(`hw_firmware_type=bios: a ${type} domain has no firmware`);
  if (!host[type]) refuse(`a ${type} domain on this host`);
  if (type === 'hvm' && directBoot) refuse('a kernel outside of the disk in a hvm domain');
  return type;
};

const VLANS = 4_096;

/**
 * Where a port ends: a bridge of dom0. A VLAN is a bridge too, named after the one of its physical network: `xenbr0.42`.
 * @throws HypervisorError `unsupported` when the port cannot be served as it is asked for
 */
export const nicFor = (nic: GuestNic, bridges: Readonly<Record<string, string>>): Nic => {
  const { portId, mac, mtu, model, attachment, guard } = nic;
  if (model !== null && model !== 'netfront') refuse(`hw_vif_model=${model}`);
  // Connections are judged by their addresses, and all within a prefix would be by this port's rules.
  if (guard?.addresses.some(({ ip }) => ip.includes('/') && !/\/(32|128)$/.test(ip)))
    refuse('an allowed address pair that is a network');
  if (attachment.kind !== 'provider') return refuse('a network that is neither flat nor vlan');
  const { physicalNetwork } = attachment;
  if (!Object.hasOwn(bridges, physicalNetwork))
    return refuse('a physical network that is mapped to no bridge', physicalNetwork);
  const bridge = bridges[physicalNetwork];
  const vlan = attachment.networkType === 'vlan' ? attachment.segmentationId : null;
  const bridgeNumber = [...new Set(Object.values(bridges))].indexOf(bridge!);
  return {
    ...{ portId, mac: mac.toLowerCase(), mtu, bridge: vlan === null ? bridge! : `${bridge}.${vlan}` },
    zone: ((bridgeNumber * VLANS + (vlan ?? 0)) % 65_535) + 1,
    guard: guard && { addresses: [...guard.addresses], rules: guard.rules.map((rule) => ({ ...rule })) },
  };
};
