import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Refused, run } from '../services/process.mjs';

const packagesOf = (file) => JSON.parse(readFileSync(file, 'utf8')).packages ?? {};

/**
 * True when `node_modules` is what package-lock.json asks for. npm leaves its own list behind once it has finished, so
 * an interrupted install, or one of an older lock file, is seen as such.
 * @param {string} root the folder of package.json
 */
export const dependenciesInstalled = (root) => {
  const done = join(root, 'node_modules', '.package-lock.json');
  if (!existsSync(done)) return false;
  const installed = packagesOf(done);
  return Object.entries(packagesOf(join(root, 'package-lock.json'))).every(
    ([path, wanted]) =>
      !path.startsWith('node_modules/') ||
      wanted.optional === true ||
      wanted.devOptional === true ||
      wanted.peer === true ||
      wanted.link === true ||
      installed[path]?.version === wanted.version,
  );
};

/**
 * Runs `npm ci` when it is needed.
 * @param {string} root
 * @param {{ say?: (line: string) => void, signal?: AbortSignal, env?: NodeJS.ProcessEnv, user?: import('../services/process.mjs').User }} [options]
 *   signal: ends it; user: whose packages they are
 */
export const installDependencies = async (root, { say = console.log, ...options } = {}) => {
  if (dependenciesInstalled(root)) return;
  say('npm ci: installing the packages of package-lock.json');
  const args = ['ci', '--no-audit', '--no-fund', '--loglevel=error'];
  const done = await run('npm', args, { cwd: root, timeout: 3_600_000, ...options });
  if (done.code !== 0)
    throw new Refused(`npm ci failed (exit ${done.code}):\n${`${done.stdout}${done.stderr}`.trim()}`);
};
