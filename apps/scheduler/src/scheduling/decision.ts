import type { PlacementExplanation, Position } from '@omnivisor/contracts';
import type { SchedulerSettings } from '../core/settings.js';
import type { Candidate, Refusal, Wanted } from './candidate.js';
import { classFilters, hostFilters } from './filters/index.js';
import type { PlacementIndex } from './index/placement-index.js';
import { smallestChange } from './smallest-change.js';
import { bestFit } from './weighers/best-fit.js';
import { novaWeights, usesMultipliers } from './weighers/nova.js';
import { isSoft, softGroupOrder } from './weighers/soft-group.js';

/** Best of this many per class: measured, it costs 0.4 % of the cores against the best of all. */
const CHOICES = 8;
const SAMPLE = 20;
const MAX_REFUSALS = 50;

export interface Decision {
  readonly chosen: Candidate | null;
  readonly explanation: PlacementExplanation;
}

/** Hosts of one class that one constraint refused, and the best that any of them had. */
interface Tally {
  readonly constraint: string;
  readonly hostClass: string;
  wanted: string;
  had: string;
  rank: number;
  hosts: number;
}

type SampleLine = PlacementExplanation['sample'][number];

/** Counts refusals by (constraint, class) and keeps a few hosts by name. */
class Findings {
  readonly fitting: Candidate[] = [];
  readonly refused: SampleLine[] = [];
  /** By class and constraint. */
  private readonly tallies = new Map<string, Map<string, Tally>>();

  refuse({ constraint, wanted, had, rank }: Refusal, hostClass: string, hosts: number): void {
    let ofClass = this.tallies.get(hostClass);
    if (!ofClass) {
      ofClass = new Map();
      this.tallies.set(hostClass, ofClass);
    }
    const known = ofClass.get(constraint);
    if (!known) {
      ofClass.set(constraint, { constraint, hostClass, wanted, had, rank, hosts });
      return;
    }
    known.hosts += hosts;
    known.wanted = wanted;
    if (rank > known.rank) Object.assign(known, { had, rank });
  }

  refuseHost(refusal: Refusal, host: Candidate): void {
    this.refuse(refusal, host.hostClass.label, 1);
    const { constraint, wanted, had } = refusal;
    if (this.refused.length < SAMPLE)
      this.refused.push({ host: host.name, verdict: 'refused', constraint, wanted, had, weight: null });
  }

  all(): Tally[] {
    return [...this.tallies.values()]
      .flatMap((ofClass) => [...ofClass.values()])
      .sort((a, b) => b.hosts - a.hosts || (a.constraint < b.constraint ? -1 : a.constraint > b.constraint ? 1 : 0));
  }
}

/** Where a request goes, and why. Pure: the same index and settings give the same answer. */
export const decidePlacement = (
  index: PlacementIndex,
  wanted: Wanted,
  settings: SchedulerSettings,
  position: Position,
): Decision => {
  const findings = new Findings();
  const whole = index.size <= settings.exactHosts || usesMultipliers(settings) || isSoft(wanted);
  const vcpus = wanted.request.requestedHost === null ? (wanted.resources.VCPU ?? 0) : 0;
  const asked = hostFilters.filter((f) => f.concerns(wanted));
  for (const buckets of index.byClass()) {
    const { hostClass } = buckets;
    const refusal = firstRefusal(classFilters, wanted, hostClass);
    if (refusal) {
      findings.refuse(refusal, hostClass.label, buckets.size);
      continue;
    }
    const short = buckets.below(vcpus);
    if (short.hosts > 0)
      findings.refuse(
        { constraint: 'VCPU', wanted: String(vcpus), had: String(short.best), rank: short.best },
        hostClass.label,
        short.hosts,
      );
    let fits = 0;
    for (const host of buckets.from(vcpus)) {
      const no = firstRefusal(asked, wanted, host);
      if (no) findings.refuseHost(no, host);
      else {
        findings.fitting.push(host);
        if (++fits >= CHOICES && !whole) break;
      }
    }
  }
  return conclude(index, wanted, settings, position, findings);
};

const conclude = (
  index: PlacementIndex,
  wanted: Wanted,
  settings: SchedulerSettings,
  position: Position,
  findings: Findings,
): Decision => {
  const { fitting } = findings;
  const multipliers = usesMultipliers(settings);
  const weights = multipliers ? novaWeights(fitting, settings) : null;
  const soft = isSoft(wanted);
  const order = leading(
    fitting,
    SAMPLE,
    (a, b) =>
      (soft ? softGroupOrder(wanted, a) - softGroupOrder(wanted, b) : 0) ||
      (weights ? weights.get(b)! - weights.get(a)! : 0) ||
      bestFit(a, b),
  );
  const chosen = order[0] ?? null;
  const sample = order.map(
    (host): SampleLine => ({
      host: host.name,
      verdict: host === chosen ? 'chosen' : 'fits',
      constraint: null,
      wanted: null,
      had: null,
      weight: weights?.get(host) ?? null,
    }),
  );
  return {
    chosen,
    explanation: {
      position,
      settingsVersion: settings.version,
      hostsConsidered: index.size,
      hostsFitting: fitting.length,
      refusals: findings
        .all()
        .slice(0, MAX_REFUSALS)
        .map(({ constraint, hostClass, hosts, wanted: want, had }) => ({
          constraint,
          hostClass,
          hosts,
          wanted: want,
          bestHad: had,
        })),
      sample: [...sample, ...findings.refused].slice(0, SAMPLE),
      smallestChange: chosen ? null : smallestChange(index, wanted),
      weigher: multipliers ? 'nova' : 'best fit',
      ...(wanted.request.networkNeeds?.length ? { networkNeeds: wanted.request.networkNeeds } : {}),
    },
  };
};

/** The first of them in order, at most `count`, without ordering the rest. */
const leading = <T>(items: readonly T[], count: number, order: (a: T, b: T) => number): T[] => {
  const first: T[] = [];
  for (const item of items) {
    if (first.length === count && order(item, first[count - 1]!) >= 0) continue;
    let at = first.length;
    while (at > 0 && order(item, first[at - 1]!) < 0) at--;
    first.splice(at, 0, item);
    if (first.length > count) first.pop();
  }
  return first;
};

export const firstRefusal = <Wants, Of>(
  filters: readonly { check(wanted: Wants, of: Of): Refusal | null }[],
  wanted: Wants,
  of: Of,
): Refusal | null => {
  for (const filter of filters) {
    const refusal = filter.check(wanted, of);
    if (refusal) return refusal;
  }
  return null;
};

/** For the owner: constraints and numbers, no host names. Starts as Nova's fault does. */
export const refusalMessage = ({ hostsConsidered, refusals, smallestChange: change }: PlacementExplanation): string => {
  const start = 'No valid host was found.';
  if (hostsConsidered === 0) return `${start} There is no compute host.`;
  const byConstraint = new Map<string, { hosts: number; wanted: string; best: string }>();
  for (const { constraint, hosts, wanted, bestHad } of refusals) {
    const known = byConstraint.get(constraint);
    const best = known && better(known.best, bestHad) ? known.best : bestHad;
    byConstraint.set(constraint, { hosts: (known?.hosts ?? 0) + hosts, wanted, best });
  }
  const reasons = [...byConstraint]
    .slice(0, 8)
    .map(([name, r]) => `${r.hosts} ${r.hosts === 1 ? 'fails' : 'fail'} ${name} (wanted ${r.wanted}, best ${r.best})`);
  const considered = `Of ${hostsConsidered} ${hostsConsidered === 1 ? 'host' : 'hosts'}, ${reasons.join('; ')}.`;
  return `${start} ${considered}${change === null ? '' : ` It would fit ${change}.`}`;
};

const better = (a: string, b: string): boolean => Number(a) >= Number(b);
