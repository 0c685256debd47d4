import type { PlantedBug } from './bugs.js';
import type { History, Step } from './history.js';
import type { InvariantName } from './invariants.js';
import { run } from './run.js';

/** The steps that are left keep their distance from the start. */
const without = (steps: readonly Step[], from: number, count: number): Step[] => {
  const taken = steps.slice(from, from + count).reduce((sum, s) => sum + s.after, 0);
  const rest = steps.slice(from + count);
  return [...steps.slice(0, from), ...rest.map((s, i) => (i === 0 ? { ...s, after: s.after + taken } : s))];
};

export interface Shrunk {
  readonly history: History;
  readonly runs: number;
}

/**
 * A shorter history that breaks the same invariant: takes out ever smaller parts until no single step can go.
 * @param broken one of those that the history breaks
 */
export const shrink = async (
  history: History,
  broken: InvariantName,
  bug?: PlantedBug,
  mostRuns = 400,
): Promise<Shrunk> => {
  let runs = 0;
  let { steps } = history;
  const breaks = async (tried: readonly Step[]) => {
    runs++;
    const { violations } = await run({ ...history, steps: tried }, { bug });
    return violations.some((v) => v.invariant === broken);
  };
  for (let part = Math.ceil(steps.length / 2); part >= 1 && runs < mostRuns; ) {
    let shorter = false;
    for (let from = 0; from < steps.length && runs < mostRuns; ) {
      const tried = without(steps, from, part);
      if (tried.length < steps.length && (await breaks(tried))) {
        steps = tried;
        shorter = true;
      } else from += part;
    }
    if (part === 1 && !shorter) break;
    if (!shorter || part > steps.length) part = Math.floor(part / 2) || (shorter ? 1 : 0);
  }
  return { history: { ...history, steps }, runs };
};
