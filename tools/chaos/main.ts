import { parseArgs } from 'node:util';
import { explain } from '../services/process.mjs';
import { Random } from '../simulate/faults/random.js';
import { ChaosCloud, canMount } from './chaos-cloud.js';
import { FAULTS } from './faults.js';
import { HEAD, lineOf, violationsOf } from './report.js';
import { type Row, Trial } from './trial.js';

const USAGE = `npm run chaos -- [options]
  --only TEXT    only faults with this in their name; may be given more than once
  --seconds N    how long a fault lasts that does not end by itself (30)
  --rounds N     how often all of them happen (1)
  --seed N       chooses what clients ask for, and the order of the faults
  --list         tells the faults and ends
  --json         the rows as JSON
  --keep         leaves the cloud running`;

const options = () => {
  const { values } = parseArgs({
    options: {
      only: { type: 'string', multiple: true, default: [] },
      seconds: { type: 'string', default: '30' },
      rounds: { type: 'string', default: '1' },
      seed: { type: 'string', default: `${Date.now() % 1_000_000}` },
      list: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      keep: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  const whole = (name: 'seconds' | 'rounds' | 'seed') => {
    if (!/^\d+$/.test(values[name])) throw new Error(`--${name} ${values[name]} is no whole number\n\n${USAGE}`);
    return Number(values[name]);
  };
  return { ...values, seconds: whole('seconds'), rounds: whole('rounds'), seed: whole('seed') };
};

/** @returns true when nothing was lost, done twice or left undone */
const main = async (): Promise<boolean> => {
  const { only, seconds, rounds, seed, list, json, keep, help } = options();
  if (help) {
    console.log(USAGE);
    return true;
  }
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

const status = await main().then(
  (held) => (held ? 0 : 1),
  (error: unknown) => {
    console.error(explain(error));
    return 2;
  },
);
process.exit(status);
