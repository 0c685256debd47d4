import { explain } from '../services/process.mjs';
import { Random } from '../simulate/faults/random.js';
import { ChaosCloud, canMount } from './chaos-cloud.js';
import { FAULTS } from './faults.js';
import { HEAD, lineOf, violationsOf } from './report.js';
import { type Row, Trial } from './trial.js';

/** What chaos.mjs was asked for. */
interface Wanted {
  readonly only: readonly string[];
  readonly seconds: number;
  readonly rounds: number;
  readonly seed: number;
  readonly list: boolean;
  readonly json: boolean;
  readonly keep: boolean;
}

/** @returns true when nothing was lost, done twice or left undone */
const held = async ({ only, seconds, rounds, seed, list, json, keep }: Wanted): Promise<boolean> => {
  const named = FAULTS.filter((f) => only.length === 0 || only.some((text) => f.name.includes(text)));
  const chosen = named.filter((f) => canMount || !f.privileged);
  if (named.length === 0) throw new Error(`no fault has ${only.join(' or ')} in its name; --list tells them`);
  if (chosen.length < named.length) console.error('some faults are left out: they need root');
  if (list) {
    for (const { name } of chosen) console.log(name);
    return true;
  }
  const say = (line: string) => (json ? console.error(line) : console.log(line));
  const order = new Random(seed, 'faults');
  const faults = Array.from({ length: rounds }, () => shuffled(chosen, order)).flat();
  say(`seed ${seed}, ${faults.length} faults of ${seconds} s\n`);
  const chaos = await ChaosCloud.start({}, seed);
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.once(signal, () => void chaos.stop().finally(() => process.exit(130)));
  const rows: Row[] = [];
  let wrong: string[] = [];
  try {
    const trial = new Trial(chaos, { seconds, around: 2 });
    say(HEAD);
    for (const fault of faults) {
      const row = await trial.suffer(fault);
      rows.push(row);
      say(lineOf(row));
      for (const violation of violationsOf(row).slice(0, 20)) say(`  ${violation}`);
    }
    wrong = await chaos.audited();
    say(`\naudit: ${wrong.join('; ') || 'replay equal, log verified'}`);
  } finally {
    if (keep) say(`the cloud is left in ${chaos.cloud.home}`);
    else await chaos.stop();
  }
  if (json) console.log(JSON.stringify({ seed, seconds, rows, audit: wrong }, null, 1));
  return wrong.length === 0 && rows.every((row) => violationsOf(row).length === 0);
};

const shuffled = <T>(all: readonly T[], random: Random): T[] => {
  const rest = [...all];
  return all.map(() => rest.splice(random.below(rest.length), 1)[0]!);
};

/** @returns the exit code */
export const chaos = (wanted: Wanted): Promise<number> =>
  held(wanted).then(
    (all) => (all ? 0 : 1),
    (error: unknown) => {
      console.error(explain(error));
      return 2;
    },
  );
