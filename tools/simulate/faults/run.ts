import { type Milliseconds, seconds } from '@omnivisor/contracts';
import type { PlantedBug } from './bugs.js';
import { FaultyCloud } from './faulty-cloud.js';
import { Happenings } from './happenings.js';
import type { History } from './history.js';
import { ALWAYS, AT_REST, type Violation, violationsOf } from './invariants.js';
import { Trace } from './trace.js';

export interface Outcome {
  readonly violations: readonly Violation[];
  /** Of everything that happened, in its order. */
  readonly hash: string;
  readonly events: number;
  readonly lines: readonly string[];
}

export interface RunOptions {
  readonly bug?: PlantedBug | undefined;
  /** The lines of the trace are wanted. */
  readonly traced?: boolean;
  readonly deadline?: Milliseconds;
}

/** After this time without faults everything that was accepted has come to its end. */
const DEADLINE = seconds(900);
/** Pauses between looks: short ones first, most histories come to rest soon. */
const LOOKS = [5, 10, 15, 30, 60, 60, 120] as const;

/** Carries out a history, ends all faults, waits for rest, and judges; again when an operator has settled what is left to him. */
export const run = async (
  history: History,
  { bug, traced = false, deadline = DEADLINE }: RunOptions = {},
): Promise<Outcome> => {
  const trace = new Trace(traced);
  const putBack = bug?.plant?.();
  let cloud: FaultyCloud | undefined;
  try {
    cloud = await FaultyCloud.start(history, trace, bug);
    const happenings = new Happenings(cloud);
    for (const step of history.steps) {
      await cloud.clock.advance(step.after as Milliseconds);
      cloud.note(JSON.stringify(step));
      await happenings.happen(step);
    }
    happenings.heal();
    let left: readonly Violation[] = [];
    for (let waited = 0, look = 0; waited < deadline; look++) {
      const pause = seconds(Math.min(LOOKS[Math.min(look, LOOKS.length - 1)]!, (deadline - waited) / 1_000));
      waited += pause;
      await cloud.clock.advance(pause);
      const evidence = await cloud.evidence(waited >= deadline);
      const wrong = violationsOf(ALWAYS, evidence);
      left = [...wrong, ...violationsOf(AT_REST, evidence)];
      if (left.length === 0) left = violationsOf(AT_REST, await cloud.evidence(true));
      if (wrong.length > 0) break;
      if (left.length > 0) continue;
      if ((await cloud.discardStrays()) === 0) break;
      [waited, look] = [0, 0];
    }
    for (const { invariant, what } of left) cloud.note(`${invariant}: ${what}`);
    return { violations: left, hash: trace.digest(), events: await cloud.head(), lines: trace.text() };
  } finally {
    cloud?.end();
    putBack?.();
  }
};
