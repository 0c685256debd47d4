import type { ResourceAmounts } from '@omnivisor/contracts';
import { type Candidate, type Refusal, type Wanted } from './candidate.js';
import { classFilters, hostFilters } from './filters/index.js';
import type { PlacementIndex } from './index/placement-index.js';
import { capacityOf, shortageOf } from './provider/provider.js';

/** The search looks at this many hosts, those with the most free VCPU of each class first. */
const MAX_HOSTS = 1_000;

interface Shrink {
  readonly amounts: Readonly<Record<string, number>>;
  /** How many resources have to shrink, then by how much of themselves. */
  readonly cost: number;
}

/** The smallest change of the request with which some host could take it, as half a sentence; null when none is known. */
export const smallestChange = (index: PlacementIndex, wanted: Wanted): string | null => {
  let shrink: Shrink | null = null;
  const dropped = new Map<string, Refusal>();
  const others = hostFilters.filter((f) => f.name !== 'capacity' && f.concerns(wanted));
  let left = MAX_HOSTS;
  for (const buckets of index.byClass()) {
    const ofClass = classFilters.flatMap((f) => f.check(wanted, buckets.hostClass) ?? []);
    // One constraint can be dropped, not two.
    if (ofClass.length > 1) continue;
    for (const host of buckets.mostFreeFirst()) {
      if (left-- <= 0) break;
      const own = others.flatMap((f) => f.check(wanted, host) ?? []);
      if (ofClass.length + own.length > 1) continue;
      const only = ofClass[0] ?? own[0];
      if (only) {
        if (hasRoom(host, wanted.resources)) dropped.set(only.constraint, only);
        continue;
      }
      const possible = shrinkFor(host, wanted);
      if (possible && (shrink === null || possible.cost < shrink.cost)) shrink = possible;
    }
  }
  if (shrink)
    return `with ${Object.entries(shrink.amounts)
      .map(([name, amount]) => `at most ${amount} ${name}`)
      .join(' and ')}`;
  const [first] = [...dropped.values()].sort((a, b) => order(a) - order(b));
  return first ? wording(first, wanted) : null;
};

const hasRoom = (host: Candidate, resources: ResourceAmounts): boolean => shortageOf(resources, host) === null;

const shrinkFor = (host: Candidate, wanted: Wanted): Shrink | null => {
  const amounts: Record<string, number> = {};
  let cost = 0;
  for (const [resource, amount] of Object.entries(wanted.resources)) {
    const inventory = host.inventories[resource];
    if (!inventory) return null;
    const free = Math.min(Math.max(0, capacityOf(inventory) - host.used(resource)), inventory.maxUnit);
    if (amount <= free && hasRoom(host, { [resource]: amount })) continue;
    const fitting = Math.floor(Math.min(free, amount) / inventory.stepSize) * inventory.stepSize;
    if (fitting < inventory.minUnit) return null;
    amounts[resource] = fitting;
    cost += 1 + (amount - fitting) / amount;
  }
  return { amounts, cost };
};

/** What the owner can change comes before what only an operator can. */
const order = (r: Refusal): number => (isStatus(r) ? 1 : 0);
const isStatus = (r: Refusal): boolean => ['up', 'enabled', 'healthy'].includes(r.constraint);

const wording = (r: Refusal, wanted: Wanted): string => {
  if (isStatus(r)) return `once a host is ${r.constraint} again`;
  if (r.constraint === 'availability zone') return `in availability zone ${r.had}`;
  if (r.constraint.startsWith('trait '))
    return r.wanted === 'required' ? `without requiring ${r.constraint}` : `without forbidding ${r.constraint}`;
  if (r.constraint === 'earlier attempts') return 'on a host that failed it before';
  if (r.constraint === 'hypervisor type') return `if the image could boot on ${r.had}`;
  if (r.constraint === 'disk format') return `with another disk format than ${wanted.request.image.diskFormat}`;
  return `without the constraint "${r.constraint}"`;
};
