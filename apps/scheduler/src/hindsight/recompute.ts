import type { PlacementExplanation, Position } from '@omnivisor/contracts';
import type { EventStore } from '@omnivisor/eventsourcing';
import { eventsBetween } from '../core/past-worlds.js';
import type { SchedulerSettings } from '../core/settings.js';
import type { World } from '../core/world.js';
import { decidePlacement } from '../scheduling/decision.js';
import { claimKey } from '../scheduling/provider/provider.js';
import { MAX_WAITING } from '../scheduling/reserve.js';
import { wantedOf } from '../scheduling/wanted.js';
import { type Decided, decisionAt, isDecided, Past } from './past.js';
import type { PlainRequest } from './past-requests.js';

export interface Verdict {
  /** Name of the host; null for a refusal. */
  readonly host: string | null;
  readonly explanation: PlacementExplanation;
}

export interface Recomputed {
  readonly position: Position;
  readonly serverId: string;
  readonly attempt: number;
  /** Null when it cannot be told: see `note`. */
  readonly equal: boolean | null;
  readonly note: string | null;
  readonly recorded: Verdict;
  readonly again: Verdict | null;
}

/** The verdict of the same pure function on a world of the past. */
export const decideAgain = (
  world: World,
  request: PlainRequest,
  settings: SchedulerSettings,
  position: Position,
): Verdict & {
  readonly decision: ReturnType<typeof decidePlacement>;
  readonly wanted: ReturnType<typeof wantedOf>;
} => {
  const wanted = wantedOf(request, {
    hostsOf: (id) => world.hostsOf(id),
    groupOf: (id) => world.groups.get(id),
    machineOf: (id) => world.hosts.get(id)?.facts?.machineId,
  });
  const decision = decidePlacement(world.index, wanted, settings, position);
  return { host: decision.chosen?.name ?? null, explanation: decision.explanation, decision, wanted };
};

/** Explanations say the same when they differ in nothing but the order of what is equally important. */
const sorted = ({ refusals, sample, order: _, ...rest }: PlacementExplanation): string => {
  const lines = (list: readonly object[]) => list.map((line) => JSON.stringify(line, Object.keys(line).sort())).sort();
  return JSON.stringify([Object.entries(rest).sort(([a], [b]) => (a < b ? -1 : 1)), lines(refusals), lines(sample)]);
};

/**
 * Decides again what was decided, from the log up to where the scheduler stood, and says whether it is the same.
 * Earlier decisions of that run of the scheduler held their room, though their claims came into the log afterwards.
 */
export const recompute = async (
  log: Pick<EventStore, 'readAll'>,
  settings: SchedulerSettings,
  positions: readonly Position[],
): Promise<Recomputed[]> => {
  const decided = await Promise.all(positions.map((position) => decisionAt(log, position)));
  decided.sort((a, b) => a.data.explanation.position - b.data.explanation.position);
  const past = new Past(log);
  const results: Recomputed[] = [];
  for (const event of decided) {
    await past.goTo(event.data.explanation.position);
    results.push(await again(log, past, settings, event));
  }
  return results;
};

/** Decided earlier by the same run. */
const isBefore = (one: Decided, other: Decided): boolean => {
  const [run, n] = (one.data.explanation.order ?? '').split('/');
  const [sameRun, m] = (other.data.explanation.order ?? '').split('/');
  return run !== '' && run === sameRun && Number(n) < Number(m);
};

const again = async (
  log: Pick<EventStore, 'readAll'>,
  { world, requests }: Past,
  settings: SchedulerSettings,
  event: Decided,
): Promise<Recomputed> => {
  const { serverId, attempt, explanation } = event.data;
  const host = event.type === 'AllocationClaimed' ? (world.hostOf(event.data.providerId)?.name ?? null) : null;
  const about = { position: event.position, serverId, attempt, recorded: { host, explanation } };
  const untold = (note: string): Recomputed => ({ ...about, equal: null, note, again: null });
  const known = requests.request(serverId, attempt);
  const request = known && { ...known, networkNeeds: explanation.networkNeeds };
  if (!request) return untold('the log had no such server yet');
  if (explanation.settingsVersion !== settings.version)
    return untold(
      `decided with version ${explanation.settingsVersion} of the settings; those in force are ${settings.version}`,
    );
  const held: string[] = [];
  for await (const other of eventsBetween(log, world.position, event.position + MAX_WAITING)) {
    if (!isDecided(other) || other.type !== 'AllocationClaimed' || !isBefore(other, event)) continue;
    const { providerId, resources } = other.data;
    const hostId = world.hostOf(providerId)?.id;
    if (!hostId) continue;
    world.hold(hostId, other.data.serverId, other.data.attempt, resources);
    held.push(claimKey(other.data.serverId, other.data.attempt));
  }
  const { host: chosen, explanation: why } = decideAgain(world, request, settings, explanation.position);
  for (const key of held) world.unhold(key);
  const equal = chosen === host && sorted(why) === sorted(explanation);
  return { ...about, equal, note: null, again: { host: chosen, explanation: why } };
};
