import type { Candidate } from '../candidate.js';
import { capacityOf } from '../provider/provider.js';

export const freeOf = (host: Candidate, resource: string): number => {
  const inventory = host.inventories[resource];
  return inventory ? Math.max(0, capacityOf(inventory) - host.used(resource)) : 0;
};

/** Less is better: fewest free VCPU, then least free memory, then the name. Leaves the large gaps whole. */
export const bestFit = (a: Candidate, b: Candidate): number =>
  freeOf(a, 'VCPU') - freeOf(b, 'VCPU') ||
  freeOf(a, 'MEMORY_MB') - freeOf(b, 'MEMORY_MB') ||
  (a.hostId < b.hostId ? -1 : a.hostId > b.hostId ? 1 : 0);
