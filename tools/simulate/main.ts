import { fork } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { bugs } from './faults/bugs.js';
import { type History, historyOf } from './faults/history.js';
import { run } from './faults/run.js';
import { shrink } from './faults/shrink.js';
import { type Bite, biteOf } from './faults/teeth.js';

/** What simulate.mjs was asked for. */
interface Wanted {
  readonly seed?: number;
  readonly seeds?: number;
  readonly nightly: boolean;
  readonly jobs?: number;
  readonly minutes?: number;
  readonly history?: History;
  readonly teeth: boolean;
  readonly bug?: string;
  readonly trace: boolean;
  readonly 'no-shrink': boolean;
}

const cpuSeconds = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};

/** @returns true when every invariant held */
const judged = async (history: History, wanted: Wanted): Promise<boolean> => {
  const { violations, hash, lines } = await run(history, { traced: wanted.trace });
  for (const line of lines) console.log(line);
  if (wanted.trace || violations.length > 0) console.log(`seed ${history.seed}: trace ${hash}`);
  if (violations.length === 0) return true;
  for (const { invariant, what } of violations.slice(0, 20)) console.log(`  ${invariant}: ${what}`);
  const again = await run(history);
  console.log(`  replay: ${again.hash === hash ? 'the same trace' : `NOT THE SAME TRACE: ${again.hash}`}`);
  if (!wanted['no-shrink']) {
    const { history: shorter, runs } = await shrink(history, violations[0]!.invariant);
    console.log(`  ${shorter.steps.length} of ${history.steps.length} steps are enough (found in ${runs} runs):`);
    console.log(JSON.stringify(shorter));
  }
  console.log(`  again: npm run simulate -- --seed ${history.seed} --trace`);
  return false;
};

/** Shares seeds out to processes of their own. @returns how many of them failed */
const sideBySide = async (first: number, seeds: number, jobs: number, wanted: Wanted): Promise<number> => {
  const share = Math.ceil(seeds / jobs);
  const passedOn = [
    ...(wanted.minutes === undefined ? [] : ['--minutes', `${wanted.minutes}`]),
    ...(wanted['no-shrink'] ? ['--no-shrink'] : []),
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

const teeth = async ({ seeds: most = 1_000, bug: named = '' }: Wanted): Promise<number> => {
  const chosen = bugs.filter((bug) => bug.name.includes(named));
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

/** @returns the exit code */
export const simulate = async (wanted: Wanted): Promise<number> => {
  if (wanted.teeth) return teeth(wanted);
  if (wanted.history) return (await judged(wanted.history, wanted)) ? 0 : 1;
  const first = wanted.seed ?? 1;
  const seeds = wanted.seeds ?? (wanted.nightly ? 100_000 : wanted.seed === undefined ? 100 : 1);
  const jobs = wanted.jobs ?? (wanted.nightly ? availableParallelism() : 1);
  if (jobs > 1) return Math.min(1, await sideBySide(first, seeds, jobs, wanted));
  const until = Date.now() + (wanted.minutes ?? 1e6) * 60_000;
  const failed: number[] = [];
  let ran = 0;
  for (let seed = first; seed < first + seeds && Date.now() < until; seed++, ran++)
    if (!(await judged(historyOf(seed), wanted))) failed.push(seed);
  const cpu = cpuSeconds();
  console.log(
    `${ran} seeds from ${first}, ${cpu.toFixed(1)} s CPU, ${(ran / cpu).toFixed(1)} seeds per second of it, at most ${Math.round(process.resourceUsage().maxRSS / 1024)} MiB`,
  );
  console.log(failed.length === 0 ? 'every invariant held' : `FAILED seeds: ${failed.join(' ')}`);
  return failed.length === 0 && ran > 0 ? 0 : 1;
};
