import { existsSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import { Refused, run, which } from './process.mjs';

/**
 * Something of the system that is needed: a command, or the path of a file, and the Debian package it comes in.
 * @typedef {readonly [commandOrFile: string, packageName: string]} Need
 */

/** Long enough for a slow mirror; apt is never cut short, as that leaves dpkg broken. */
const PATIENCE = 3_600_000;
/** A fresh machine updates itself in its first minutes. Seconds. */
const LOCK_PATIENCE = 300;

/** @param {string} name */
const isThere = (name) =>
  isAbsolute(name)
    ? existsSync(name)
    : which(name) !== undefined || existsSync(`/usr/sbin/${name}`) || existsSync(`/sbin/${name}`);

/** @param {readonly Need[]} needs @returns {Need[]} those that are not there */
export const missing = (needs) => needs.filter(([name]) => !isThere(name));

/** @param {readonly Need[]} needs @returns {string[]} each package once */
export const packagesOf = (needs) => [...new Set(needs.map(([, name]) => name))];

export const hasApt = () => which('apt-get') !== undefined;

/** Command and arguments before `apt-get`: sudo, where this process is not root. */
const asRoot = () => (process.getuid?.() === 0 ? [] : ['sudo', '-n']);

/** Out of the terminal's process group, so that Ctrl-C does not cut it short. @param {string[]} args */
const apt = (args) => {
  const options = ['-q', '-o', `DPkg::Lock::Timeout=${LOCK_PATIENCE}`, '-o', 'Acquire::Retries=2'];
  const [command = '', ...rest] = [
    ...asRoot(),
    'env',
    'DEBIAN_FRONTEND=noninteractive',
    'apt-get',
    ...options,
    ...args,
  ];
  return run(command, rest, { timeout: PATIENCE, detached: true });
};

/** Unlike dpkg's, the lock of the package lists is not waited for by apt. @returns {Promise<string>} its complaints */
const updateLists = async () => {
  const end = Date.now() + LOCK_PATIENCE * 1000;
  for (;;) {
    const { stderr } = await apt(['update']);
    if (!/Could not get lock/.test(stderr) || Date.now() > end) return stderr;
    await new Promise((resolve) => setTimeout(resolve, 1_000));
  }
};

/**
 * Installs Debian packages.
 * @param {readonly string[]} packages
 * @param {(line: string) => void} [say]
 * @throws Refused with apt's own words
 */
export const install = async (packages, say = () => {}) => {
  if (packages.length === 0) return;
  const list = packages.join(' ');
  if (!hasApt()) throw new Refused(`this system has no apt-get: install these first: ${list}`);
  if (asRoot().length > 0 && !which('sudo')) throw new Refused(`only root can install ${list}`);
  say(`apt-get install ${list}`);
  const args = ['install', '-y', '--no-install-recommends', ...packages];
  if ((await apt(args)).code === 0) return;
  const complaints = await updateLists(); // one mirror of several may be away: the packages decide
  const done = await apt(args);
  if (done.code !== 0) throw new Refused(`apt-get install ${list} failed:\n${`${complaints}${done.stderr}`.trim()}`);
};
