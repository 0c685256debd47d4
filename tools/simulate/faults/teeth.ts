import { seconds } from '@omnivisor/contracts';
import type { PlantedBug } from './bugs.js';
import { historyOf } from './history.js';
import type { InvariantName } from './invariants.js';
import { run } from './run.js';

export interface Bite {
  readonly bug: string;
  /** The first one that finds it. */
  readonly seed: number;
  readonly invariant: InvariantName;
}

/** Shorter than what correct code is given: each find is compared with a run without the bug. */
export const DEADLINE_WITH_BUG = seconds(300);

/** @returns what a seed finds of a bug; undefined when it finds nothing, or as much without the bug */
export const biteOf = async (bug: PlantedBug, seed: number): Promise<Bite | undefined> => {
  const history = historyOf(seed);
  const deadline = DEADLINE_WITH_BUG;
  const [found] = (await run(history, { bug, deadline })).violations;
  if (!found || (await run(history, { deadline })).violations.length > 0) return undefined;
  return { bug: bug.name, seed, invariant: found.invariant };
};
