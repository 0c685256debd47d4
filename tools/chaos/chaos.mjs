#!/usr/bin/env node
/**
 * npm run chaos -- [--only FAULT] [--seconds N] [--seed N]: a real cloud under load, hurt in one way after the other. As
 * root in namespaces of its own: disks can be filled and lose their power there, and nothing is left when it ends.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { install, missing, packagesOf } from '../services/debian.mjs';
import { isRoot } from '../start/sudo.mjs';
import { runTypeScript } from '../typescript.mjs';
import { NEEDS } from './needs.mjs';

const MOUNTS = 'OMNIVISOR_CHAOS_MOUNTS';

if (!isRoot() || process.env[MOUNTS]) await runTypeScript('tools/chaos/main.ts');
else {
  await install(packagesOf(missing(NEEDS)));
  const apart = ['--mount', '--propagation', 'private', '--pid', '--fork', '--kill-child', '--mount-proc'];
  const again = [process.execPath, fileURLToPath(import.meta.url), ...process.argv.slice(2)];
  const env = { ...process.env, [MOUNTS]: '1' };
  const { status } = spawnSync('unshare', [...apart, ...again], { stdio: 'inherit', env });
  process.exitCode = status ?? 1;
}
