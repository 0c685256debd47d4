import { type Candidate, type Refusal, type Wanted } from './candidate.js';
import { classFilters, hostFilters } from './filters/index.js';
import type { PlacementIndex } from './index/placement-index.js';
import { capacityOf, shortageOf } from './provider/provider.js';

/** Beyond, the search for the smallest change looks at this many hosts. */
const MAX_HOSTS = 5_000;

interface Shrink {
  readonly amounts: Readonly<Record<string, number>>;
  /** How many resources have to shrink, then by how much of themselves. */
  readonly cost: number;
}

const others = hostFilters.filter((f) => f.name !== 'capacity');

/** The smallest change of the request with which some host could take it, as half a sentence; null when none is known. */
export const smallestChange = (index: PlacementIndex, wanted: Wanted): string | null => {
  let shrink: Shrink | null = null;
  const dropped = new Map<string, Refusal>();
  let seen = 0;
  for (const host of index.hosts()) {
    if (++seen > MAX_HOSTS) break;
    const refusals = [
      ...classFilters.map((f) => f.check(wanted, host.hostClass)),
      ...others.map((f) => f.check(wanted, host)),
    ].filter((r) => r !== null);
    if (refusals.length > 1) continue;
    const room = shortageOf(wanted.resources, host.inventories, (r) => host.used(r)) === null;
    const only = refusals[0];
    if (only) {
      if (room) dropped.set(only.constraint, only);
      continue;
    }
    const possible = shrinkFor(host, wanted);
    if (possible && (shrink === null || possible.cost < shrink.cost)) shrink = possible;
  }
  if (shrink)
    return `with ${Object.entries(shrink.amounts)
      .map(([name, amount]) => `at most ${amount} ${name}`)
      .join(' and ')}`;
  const [first] = [...dropped.values()].sort((a, b) => order(a) - order(b));
  return first ? wording(first, wanted) : null;
};

const shrinkFor = (host: Candidate, wanted: Wanted): Shrink | null => {
  const amounts: Record<string, number> = {};
  let cost = 0;
  for (const [resource, amount] of Object.entries(wanted.resources)) {
    const inventory = host.inventories[resource];
    if (!inventory) return null;
    const free = Math.min(Math.max(0, capacityOf(inventory) - host.used(resource)), inventory.maxUnit);
    if (amount <= free && shortageOf({ [resource]: amount }, host.inventories, (r) => host.used(r)) === null) continue;
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
