import type { SchedulerSettings } from '../../core/settings.js';
import type { Candidate } from '../candidate.js';
import { freeOf } from './best-fit.js';

/** True when an operator set one of Nova's multipliers. */
export const usesMultipliers = (s: SchedulerSettings): boolean =>
  s.cpuWeightMultiplier !== null || s.ramWeightMultiplier !== null || s.diskWeightMultiplier !== null;

/** Nova's sum of free resources, each normalised over the hosts that fit, times its multiplier. More is better. */
export const novaWeights = (hosts: readonly Candidate[], settings: SchedulerSettings): Map<Candidate, number> => {
  const weights = new Map(hosts.map((host) => [host, 0]));
  const terms: readonly (readonly [string, number | null])[] = [
    ['VCPU', settings.cpuWeightMultiplier],
    ['MEMORY_MB', settings.ramWeightMultiplier],
    ['DISK_GB', settings.diskWeightMultiplier],
  ];
  for (const [resource, multiplier] of terms) {
    if (multiplier === null || multiplier === 0) continue;
    const free = hosts.map((h) => freeOf(h, resource));
    const low = Math.min(...free);
    const range = Math.max(...free) - low;
    if (range === 0) continue;
    for (const [i, host] of hosts.entries())
      weights.set(host, weights.get(host)! + (multiplier * (free[i]! - low)) / range);
  }
  return weights;
};
