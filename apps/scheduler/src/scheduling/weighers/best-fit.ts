import type { Candidate } from '../candidate.js';
import { capacityOf } from '../provider/provider.js';

export const freeOf = (host: Candidate, resource: string): number => {
  const inventory = host.inventories[resource];
  return inventory ? Math.max(0, capacityOf(inventory) - host.used(resource)) : 0;
};

/** Less is better: fewest free VCPU, then least free memory, then the id. Leaves the large gaps whole. */
export const bestFit = (a: Candidate, b: Candidate): number =>
  a.freeVcpus - b.freeVcpus || a.freeMemory - b.freeMemory || (a.hostId < b.hostId ? -1 : a.hostId > b.hostId ? 1 : 0);
