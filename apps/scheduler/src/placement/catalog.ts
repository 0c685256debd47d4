import type { World } from '../core/world.js';
import type { Surroundings } from '../registry/registry-lifecycle.js';
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

export const standardTraitSet: ReadonlySet<string> = new Set(standardTraits);
export const standardClassSet: ReadonlySet<string> = new Set(standardClasses);

const hostTraits = (world: World): Set<string> =>
  new Set([...world.providers.values()].filter((p) => p.exists).flatMap((p) => p.traits));

export const traitsInUse = (world: World): Set<string> =>
  new Set([...hostTraits(world), ...[...world.registry.providers.values()].flatMap((p) => p.traits)]);

export const allTraits = (world: World): Set<string> =>
  new Set([...standardTraits, ...world.registry.traits, ...traitsInUse(world)]);

export const isTrait = (world: World, name: string): boolean =>
  standardTraitSet.has(name) || world.registry.traits.has(name) || traitsInUse(world).has(name);

export const isClass = (world: World, name: string): boolean => {
  if (standardClassSet.has(name) || world.registry.classes.has(name)) return true;
  for (const { inventories } of world.providers.values()) if (Object.hasOwn(inventories, name)) return true;
  return false;
};

export const allClasses = (world: World): string[] => {
  const custom = [...world.providers.values()].flatMap((p) => Object.keys(p.inventories));
  return [...new Set([...standardClasses, ...[...custom, ...world.registry.classes].sort()])];
};

/** What a decision of the registry has to know of the world. */
export const surroundings = (world: World): Surroundings => ({
  hosts: new Map([...world.providers.values()].flatMap((p) => (p.exists && p.id ? [[p.id as string, p.name]] : []))),
  standardTraits: standardTraitSet,
  standardClasses: standardClassSet,
  hostTraits: hostTraits(world),
  servers: { has: (id) => world.claims.has(id) || world.migrations.serverOf(id) !== undefined },
});
