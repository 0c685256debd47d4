import { type HostId, invalid, type Position } from '@omnivisor/contracts';
import type { EventStore } from '@omnivisor/eventsourcing';
import { eventsBetween } from '../core/past-worlds.js';
import type { SchedulerSettings } from '../core/settings.js';
import { Alternative, type Changes } from './alternative.js';
import { type Decided, isDecided } from './past.js';
import { PastRequests } from './past-requests.js';
import { decideAgain } from './recompute.js';

export interface Different {
  readonly position: Position;
  readonly at: string;
  readonly serverId: string;
  readonly attempt: number;
  /** Names of hosts; null for a refusal. */
  readonly was: string | null;
  readonly wouldBe: string | null;
  /** Of a refusal: the smallest change of the request that would have fitted. */
  readonly smallestChange: string | null;
}

export interface WhatIf {
  readonly decisions: number;
  readonly same: number;
  readonly moved: number;
  /** Refused, and would have been placed. */
  readonly placed: number;
  /** Placed, and would have been refused. */
  readonly refused: number;
  /** Decisions of servers that the log no longer knows enough of. */
  readonly untold: number;
  /** At most 500. */
  readonly differences: readonly Different[];
}

const MAX_DECISIONS = 100_000;
const MAX_DIFFERENCES = 500;

const numberOf = (event: Decided): number => Number(event.data.explanation.order?.split('/')[1] ?? event.position);

/**
 * The placement requests of a period, decided with other settings or more hosts, one after the other: what one of them
 * takes, the next ones do not find. Whatever else happened is as it was.
 * @param settings those in force, which the changes go over
 * @throws DomainError `invalid` for a period with too many decisions, or a host that was not there
 */
export const whatIf = async (
  log: Pick<EventStore, 'readAll'>,
  settings: SchedulerSettings,
  from: Position,
  to: Position,
  changes: Changes,
): Promise<WhatIf> => {
  const decided: Decided[] = [];
  // What had been decided before the period began is as it was.
  for await (const event of eventsBetween(log, from, to))
    if (isDecided(event) && event.data.explanation.position >= from) {
      decided.push(event);
      if (decided.length > MAX_DECISIONS)
        throw invalid(`more than ${MAX_DECISIONS} decisions: ask for a shorter period`);
    }
  decided.sort((a, b) => a.data.explanation.position - b.data.explanation.position || numberOf(a) - numberOf(b));
  const inPeriod = new Set(decided.map((event) => event.position));
  const run = new Run(new Alternative(changes), { ...settings, ...changes.settings } as SchedulerSettings);
  let next = 0;
  const decideUntil = (position: Position) => {
    for (; next < decided.length && decided[next]!.data.explanation.position <= position; next++)
      run.decide(decided[next]!);
  };
  let begun = false;
  for await (const event of eventsBetween(log, 0, to)) {
    if (!begun && event.position > from) {
      begun = true;
      run.alternative.addHosts(event);
    }
    if (begun) decideUntil(event.position - 1);
    if (!inPeriod.has(event.position)) run.apply(event);
  }
  decideUntil(to);
  return run.result();
};

/** One pass over the log. */
class Run {
  private readonly requests = new PastRequests();
  private readonly differences: Different[] = [];
  private readonly counts = { decisions: 0, same: 0, moved: 0, placed: 0, refused: 0, untold: 0 };

  constructor(
    readonly alternative: Alternative,
    private readonly settings: SchedulerSettings,
  ) {}

  apply(event: Parameters<Alternative['apply']>[0]): void {
    this.alternative.apply(event);
    this.requests.apply(event);
  }

  decide(event: Decided): void {
    this.counts.decisions++;
    const { world } = this.alternative;
    const { serverId, attempt } = event.data;
    const placeOf = (hostId: HostId, owner: string | null): HostId =>
      (owner === null ? undefined : world.hostsOf(owner)[0]) ?? hostId;
    const known = this.requests.request(serverId, attempt, placeOf);
    const request = known && { ...known, networkNeeds: event.data.explanation.networkNeeds };
    const real = event.type === 'AllocationClaimed' ? event.data.providerId : null;
    if (!request) {
      this.counts.untold++;
      if (event.type === 'AllocationClaimed') this.alternative.claim(event, real, event.data.resources);
      return;
    }
    const { host, explanation, decision, wanted } = decideAgain(world, request, this.settings, world.position);
    const was = real === null ? null : (world.hostOf(real)?.name ?? real);
    this.alternative.claim(event, decision.chosen?.providerId ?? null, wanted.resources);
    if (host === was) {
      this.counts.same++;
      return;
    }
    this.counts[was === null ? 'placed' : host === null ? 'refused' : 'moved']++;
    if (this.differences.length >= MAX_DIFFERENCES) return;
    const { position, recordedAt: at } = event;
    const { smallestChange } = explanation;
    this.differences.push({ position, at, serverId, attempt, was, wouldBe: host, smallestChange });
  }

  result(): WhatIf {
    return { ...this.counts, differences: this.differences };
  }
}
