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

interface Tally extends Refusal {
  readonly hostClass: string;
  readonly hosts: number;
}

type SampleLine = PlacementExplanation['sample'][number];

/** Counts refusals by (constraint, class) and keeps a few hosts by name. */
class Findings {
  readonly fitting: Candidate[] = [];
  readonly refused: SampleLine[] = [];
  private readonly tallies = new Map<string, Tally>();

  refuse(refusal: Refusal, hostClass: string, hosts: number): void {
    const key = `${refusal.constraint}\n${hostClass}`;
    const known = this.tallies.get(key);
    const best = known && known.rank >= refusal.rank ? known : refusal;
    this.tallies.set(key, {
      ...refusal,
      had: best.had,
      rank: best.rank,
      hostClass,
      hosts: (known?.hosts ?? 0) + hosts,
    });
  }

  refuseHost(refusal: Refusal, host: Candidate): void {
    this.refuse(refusal, host.hostClass.label, 1);
    const { constraint, wanted, had } = refusal;
    if (this.refused.length < SAMPLE)
      this.refused.push({ host: host.name, verdict: 'refused', constraint, wanted, had, weight: null });
  }

  all(): Tally[] {
    return [...this.tallies.values()].sort(
      (a, b) => b.hosts - a.hosts || (a.constraint < b.constraint ? -1 : a.constraint > b.constraint ? 1 : 0),
    );
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
  for (const buckets of index.byClass()) {
    const { hostClass } = buckets;
    const refusal = firstOf(classFilters, (f) => f.check(wanted, hostClass));
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
      const no = firstOf(hostFilters, (f) => f.check(wanted, host));
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
  const order = fitting.map((host, i) => ({ host, weight: weights?.[i] ?? null }));
  order.sort(
    (a, b) =>
      softGroupOrder(wanted, a.host) - softGroupOrder(wanted, b.host) ||
      (weights ? b.weight! - a.weight! : 0) ||
      bestFit(a.host, b.host),
  );
  const chosen = order[0]?.host ?? null;
  const sample = order.slice(0, SAMPLE).map(
    ({ host, weight }): SampleLine => ({
      host: host.name,
      verdict: host === chosen ? 'chosen' : 'fits',
      constraint: null,
      wanted: null,
      had: null,
      weight,
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
    },
  };
};

const firstOf = <T>(filters: readonly T[], check: (filter: T) => Refusal | null): Refusal | null => {
  for (const filter of filters) {
    const refusal = check(filter);
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
