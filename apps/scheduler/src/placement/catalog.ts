import type { ProviderView, World } from '../core/world.js';
import { standardTraits } from './standard-traits.js';

/** os-resource-classes 1.1, in its order. */
export const standardClasses: readonly string[] = [
  'VCPU',
  'MEMORY_MB',
  'DISK_GB',
  'PCI_DEVICE',
  'SRIOV_NET_VF',
  'NUMA_SOCKET',
  'NUMA_CORE',
  'NUMA_THREAD',
  'NUMA_MEMORY_MB',
  'IPV4_ADDRESS',
  'VGPU',
  'VGPU_DISPLAY_HEAD',
  'NET_BW_EGR_KILOBIT_PER_SEC',
  'NET_BW_IGR_KILOBIT_PER_SEC',
  'PCPU',
  'MEM_ENCRYPTION_CONTEXT',
  'FPGA',
  'PGPU',
  'NET_PACKET_RATE_KILOPACKET_PER_SEC',
  'NET_PACKET_RATE_EGR_KILOPACKET_PER_SEC',
  'NET_PACKET_RATE_IGR_KILOPACKET_PER_SEC',
];

const standardTraitSet = new Set(standardTraits);

export const traitsInUse = (world: World): Set<string> =>
  new Set([...world.providers.values()].filter((p) => p.exists).flatMap((p) => p.traits));

export const allTraits = (world: World): Set<string> => new Set([...standardTraits, ...traitsInUse(world)]);

const some = (world: World, has: (provider: ProviderView) => boolean): boolean => {
  for (const provider of world.providers.values()) if (has(provider)) return true;
  return false;
};

export const isTrait = (world: World, name: string): boolean =>
  standardTraitSet.has(name) || some(world, (p) => p.exists && p.traits.includes(name));

export const isClass = (world: World, name: string): boolean =>
  standardClasses.includes(name) || some(world, (p) => Object.hasOwn(p.inventories, name));

export const allClasses = (world: World): string[] => {
  const custom = [...world.providers.values()].flatMap((p) => Object.keys(p.inventories));
  return [...new Set([...standardClasses, ...custom.sort()])];
};
