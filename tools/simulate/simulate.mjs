#!/usr/bin/env node
/**
 * npm run simulate -- [options]: the whole control plane in one process, hurt in every way that a seed chooses
 *
 *   --seed N       the first seed (1)
 *   --seeds N      how many, one after the other (100; 1 with --seed)
 *   --nightly      100,000 seeds, on all cores
 *   --jobs N       so many processes side by side (1; all cores with --nightly)
 *   --minutes N    ends after so many minutes, whatever is left
 *   --history FILE runs the history of a file instead, as a failure prints it
 *   --teeth        plants bugs one by one, and looks for the first seed that finds each (of 1000)
 *   --bug TEXT     only bugs with this in their name
 *   --trace        prints all that happens
 *   --no-shrink    does not look for a shorter history of a failure
 */
import { readFileSync } from 'node:fs';
import { argumentsOf, whole } from '../arguments.mjs';
import { Refused } from '../services/process.mjs';
import { runTypeScript } from '../typescript.mjs';

const number = { type: 'string', read: whole() };
const flag = { type: 'boolean', default: false };
const history = (file) => {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw new Refused(error.message);
  }
};
const { values } = argumentsOf(import.meta.url, {
  options: {
    ...{ seed: number, seeds: number, nightly: flag, jobs: number, minutes: number },
    history: { type: 'string', read: history },
    ...{ teeth: flag, bug: { type: 'string' }, trace: flag, 'no-shrink': flag },
  },
});
const { simulate } = await runTypeScript('tools/simulate/main.ts');
process.exitCode = await simulate(values);
