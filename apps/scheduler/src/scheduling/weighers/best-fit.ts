import type { Candidate } from '../candidate.js';
import { capacityOf } from '../provider/provider.js';

export const freeOf = (host: Candidate, resource: string): number => {
  const inventory = host.inventories[resource];
  return inventory ? Math.max(0, capacityOf(inventory) - host.used(resource)) : 0;
};

/** A host that fits, and what it has free. */
export interface Fit {
  readonly host: Candidate;
  readonly vcpus: number;
  readonly memory: number;
}

/** Less is better: fewest free VCPU, then least free memory, then the id. Leaves the large gaps whole. */
export const bestFit = (a: Fit, b: Fit): number =>
  a.vcpus - b.vcpus ||
  a.memory - b.memory ||
  (a.host.hostId < b.host.hostId ? -1 : a.host.hostId > b.host.hostId ? 1 : 0);
