import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

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
 * @param {{ say?: (line: string) => void }} [options]
 */
export const installDependencies = async (root, { say = console.log } = {}) => {
  if (dependenciesInstalled(root)) return;
  say('npm ci: installing the packages of package-lock.json');
  const output = [];
  const child = spawn('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  child.stdout.on('data', (chunk) => output.push(chunk));
  child.stderr.on('data', (chunk) => output.push(chunk));
  const code = await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  if (code !== 0) throw new Error(`npm ci failed (exit ${code}):\n${Buffer.concat(output).toString().trim()}`);
};
