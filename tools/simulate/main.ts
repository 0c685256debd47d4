import { fork } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { bugs } from './faults/bugs.js';
import { type History, historyOf } from './faults/history.js';
import { run } from './faults/run.js';
import { shrink } from './faults/shrink.js';
import { type Bite, biteOf } from './faults/teeth.js';

const USAGE = `npm run simulate -- [options]
  --seed N       the first seed (1)
  --seeds N      how many, one after the other (100; 1 with --seed)
  --nightly      100,000 seeds, on all cores
  --jobs N       so many processes side by side (1; all cores with --nightly)
  --minutes N    ends after so many minutes, whatever is left
  --history FILE runs the history of a file instead, as a failure prints it
  --teeth        plants bugs one by one, and looks for the first seed that finds each (of 1000)
  --bug TEXT     only bugs with this in their name
  --trace        prints all that happens
  --no-shrink    does not look for a shorter history of a failure`;

/** Not 1: that is a failure found. */
const askedWrongly = (why: string): never => {
  console.error(`${why}\n\n${USAGE}`);
  process.exit(2);
};

const whole = (text: string | undefined, otherwise: number): number => {
  if (text === undefined) return otherwise;
  if (!/^[0-9]+$/.test(text)) askedWrongly(`${text} is no whole number`);
  return Number(text);
};

const OPTIONS = {
  options: {
    seed: { type: 'string' },
    seeds: { type: 'string' },
    nightly: { type: 'boolean', default: false },
    jobs: { type: 'string' },
    minutes: { type: 'string' },
    history: { type: 'string' },
    teeth: { type: 'boolean', default: false },
    bug: { type: 'string' },
    trace: { type: 'boolean', default: false },
    'no-shrink': { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
} as const;

const given = () => {
  try {
    return parseArgs(OPTIONS).values;
  } catch (error) {
    return askedWrongly((error as Error).message);
  }
};
const values = given();

const historyIn = (file: string): History => {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as History;
  } catch (error) {
    return askedWrongly(`${file}: ${(error as Error).message}`);
  }
};

const cpuSeconds = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};

/** @returns true when every invariant held */
const judged = async (history: History): Promise<boolean> => {
  const { violations, hash, lines } = await run(history, { traced: values.trace });
  for (const line of lines) console.log(line);
  if (values.trace || violations.length > 0) console.log(`seed ${history.seed}: trace ${hash}`);
  if (violations.length === 0) return true;
  for (const { invariant, what } of violations.slice(0, 20)) console.log(`  ${invariant}: ${what}`);
  const again = await run(history);
  console.log(`  replay: ${again.hash === hash ? 'the same trace' : `NOT THE SAME TRACE: ${again.hash}`}`);
  if (!values['no-shrink']) {
    const { history: shorter, runs } = await shrink(history, violations[0]!.invariant);
    console.log(`  ${shorter.steps.length} of ${history.steps.length} steps are enough (found in ${runs} runs):`);
    console.log(JSON.stringify(shorter));
  }
  console.log(`  again: npm run simulate -- --seed ${history.seed} --trace`);
  return false;
};

/** Shares seeds out to processes of their own. @returns how many of them failed */
const sideBySide = async (first: number, seeds: number, jobs: number): Promise<number> => {
  const share = Math.ceil(seeds / jobs);
  const passedOn = [
    ...(values.minutes === undefined ? [] : ['--minutes', values.minutes]),
    ...(values['no-shrink'] ? ['--no-shrink'] : []),
  ];
  const ends = Array.from({ length: jobs }, (_, job) => {
    const from = first + job * share;
    const count = Math.min(share, first + seeds - from);
    if (count <= 0) return 0;
    const child = fork(process.argv[1]!, ['--seed', `${from}`, '--seeds', `${count}`, ...passedOn]);
    return new Promise<number>((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code) => resolve(code === 0 ? 0 : 1));
    });
  });
  return (await Promise.all(ends)).reduce((sum, end) => sum + end, 0);
};

const teeth = async (): Promise<number> => {
  const most = whole(values.seeds, 1_000);
  const chosen = bugs.filter((bug) => bug.name.includes(values.bug ?? ''));
  const toothless: string[] = [];
  for (const bug of chosen) {
    let bite: Bite | undefined;
    for (let seed = 1; seed <= most && !bite; seed++) bite = await biteOf(bug, seed);
    if (bite) console.log(JSON.stringify(bite));
    else toothless.push(bug.name);
  }
  console.log(
    `${chosen.length} bugs were planted, ${toothless.length} were not found, ${cpuSeconds().toFixed(1)} s CPU`,
  );
  for (const name of toothless) console.log(`NOT FOUND: ${name}`);
  return toothless.length === 0 ? 0 : 1;
};

const main = async (): Promise<number> => {
  if (values.help) {
    console.log(USAGE);
    return 0;
  }
  if (values.teeth) return teeth();
  if (values.history) return (await judged(historyIn(values.history))) ? 0 : 1;
  const first = whole(values.seed, 1);
  const seeds = whole(values.seeds, values.nightly ? 100_000 : values.seed === undefined ? 100 : 1);
  const jobs = whole(values.jobs, values.nightly ? availableParallelism() : 1);
  if (jobs > 1) return Math.min(1, await sideBySide(first, seeds, jobs));
  const until = Date.now() + whole(values.minutes, 1e6) * 60_000;
  const failed: number[] = [];
  let ran = 0;
  for (let seed = first; seed < first + seeds && Date.now() < until; seed++, ran++)
    if (!(await judged(historyOf(seed)))) failed.push(seed);
  const cpu = cpuSeconds();
  console.log(
    `${ran} seeds from ${first}, ${cpu.toFixed(1)} s CPU, ${(ran / cpu).toFixed(1)} seeds per second of it, at most ${Math.round(process.resourceUsage().maxRSS / 1024)} MiB`,
  );
  console.log(failed.length === 0 ? 'every invariant held' : `FAILED seeds: ${failed.join(' ')}`);
  return failed.length === 0 && ran > 0 ? 0 : 1;
};

process.exitCode = await main();
