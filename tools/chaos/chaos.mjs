#!/usr/bin/env node
/**
 * npm run chaos -- [options]: a real cloud under load, hurt in one way after the other. As root in namespaces of its own:
 * disks can be filled and lose their power there, and nothing is left when it ends.
 *
 *   --only TEXT    only faults with this in their name; may be given more than once
 *   --seconds N    how long a fault lasts that does not end by itself (30)
 *   --rounds N     how often all of them happen (1)
 *   --seed N       chooses what clients ask for, and the order of the faults
 *   --list         tells the faults and ends
 *   --json         the rows as JSON
 *   --keep         leaves the cloud running
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { argumentsOf, whole } from '../arguments.mjs';
import { install, missing, packagesOf } from '../services/debian.mjs';
import { isRoot } from '../start/sudo.mjs';
import { runTypeScript } from '../typescript.mjs';
import { NEEDS } from './needs.mjs';

const MOUNTS = 'OMNIVISOR_CHAOS_MOUNTS';

const number = (otherwise) => ({ type: 'string', default: otherwise, read: whole() });
const flag = { type: 'boolean', default: false };
const { values } = argumentsOf(import.meta.url, {
  options: {
    only: { type: 'string', multiple: true, default: [] },
    ...{ seconds: number('30'), rounds: number('1'), seed: number(`${Date.now() % 1_000_000}`) },
    ...{ list: flag, json: flag, keep: flag },
  },
});

if (!isRoot() || process.env[MOUNTS]) {
  const { chaos } = await runTypeScript('tools/chaos/main.ts');
  process.exit(await chaos(values));
} else {
  await install(packagesOf(missing(NEEDS)));
  const apart = ['--mount', '--propagation', 'private', '--pid', '--fork', '--kill-child', '--mount-proc'];
  const again = [process.execPath, fileURLToPath(import.meta.url), ...process.argv.slice(2)];
  const env = { ...process.env, [MOUNTS]: '1' };
  const { status } = spawnSync('unshare', [...apart, ...again], { stdio: 'inherit', env });
  process.exitCode = status ?? 1;
}
