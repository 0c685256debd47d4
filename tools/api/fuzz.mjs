#!/usr/bin/env node
/**
 * npm run fuzz [-- --minutes N]: random requests on every route of every service for N minutes (10), each run others. A
 * failure prints the request, made as small as it gets, and the seed; `FC_SEED=<seed>` tries it again.
 */
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { argumentsOf } from '../arguments.mjs';
import { Refused } from '../services/process.mjs';
import { installDependencies } from '../start/dependencies.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const duration = (text) => {
  if (Number(text) > 0) return Number(text);
  throw new Refused('a number of minutes is needed');
};
const { minutes } = argumentsOf(import.meta.url, {
  options: { minutes: { type: 'string', default: '10', read: duration } },
}).values;
await installDependencies(root);
const env = { ...process.env, OMNIVISOR_FUZZ_SECONDS: `${minutes * 60}`, FC_SEED: process.env.FC_SEED ?? 'random' };
const args = ['run', 'tools/api/fuzz.spec.ts'];
const { status } = spawnSync(join(root, 'node_modules/.bin/vitest'), args, { cwd: root, env, stdio: 'inherit' });
process.exit(status ?? 1);
