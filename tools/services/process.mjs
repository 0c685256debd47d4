import { spawn } from 'node:child_process';
import { accessSync, chownSync, constants, mkdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { delimiter, join } from 'node:path';

/** A problem the caller can solve; its text says how. Shown without a stack trace. */
export class Refused extends Error {}

/** What to tell of an error: its words, and where it came from when it is a mistake of the program's own. @param {unknown} error */
export const explain = (error) =>
  error instanceof TypeError ||
  error instanceof RangeError ||
  error instanceof ReferenceError ||
  !(error instanceof Error)
    ? `${/** @type {Error} */ (error)?.stack ?? error}`
    : error.message;

/**
 * A user to run as; only root may give one.
 * @typedef {{ uid: number, gid: number }} User
 */

/**
 * Runs a command to its end.
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ user?: User, cwd?: string, env?: NodeJS.ProcessEnv, timeout?: number, detached?: boolean, signal?: AbortSignal }} [options]
 *   timeout in milliseconds; detached: in a process group of its own; signal: ends it
 * @returns {Promise<{ code: number | null, stdout: string, stderr: string }>}
 */
export const run = (command, args, { user, timeout = 300_000, signal, ...options } = {}) =>
  new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options, ...user });
    const end = () => endOf(child, options.detached === true);
    // Not spawn's own timeout: its timer goes on after a command that is not there.
    const timer = setTimeout(end, timeout);
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', end);
    };
    if (signal?.aborted) end();
    else signal?.addEventListener('abort', end);
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk) => {
      stdout += chunk;
    });
    child.stderr.on('data', (chunk) => {
      stderr += chunk;
    });
    child.on('error', (error) => {
      done();
      reject(error);
    });
    child.on('close', (code) => {
      done();
      resolve({ code, stdout, stderr });
    });
  });

/** Ends a command; one with a group of its own with all that it started. @param {import('node:child_process').ChildProcess} child @param {boolean} group */
const endOf = (child, group) => {
  if (child.pid === undefined) return;
  try {
    process.kill(group ? -child.pid : child.pid, 'SIGTERM');
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'ESRCH') throw error;
  }
};

/** @param {string} name @returns {string | undefined} the first executable of this name on PATH */
export const which = (name) =>
  (process.env.PATH ?? '')
    .split(delimiter)
    .filter((folder) => folder !== '')
    .map((folder) => join(folder, name))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });

/** @param {number} wanted 0 for any @returns {Promise<number>} */
const tryPort = (wanted) =>
  new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(wanted, '127.0.0.1', () => {
      const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
      server.close(() => resolve(port));
    });
  });

/** @param {unknown} error */
const isTaken = (error) => error instanceof Error && 'code' in error && error.code === 'EADDRINUSE';

/** The first port that the system takes for outgoing connections. */
const firstOutgoing = () => {
  try {
    return Number.parseInt(readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8'), 10);
  } catch {
    return 32_768;
  }
};

/**
 * Any port is one that no outgoing connection is given: whoever listens there finds it free again after a restart.
 * @param {number} [wanted] 0 for any
 * @returns {Promise<number>} a TCP port of 127.0.0.1 that was free a moment ago
 */
export const freePort = async (wanted = 0) => {
  const [least, most] = [10_000, firstOutgoing()];
  for (let tries = 0; wanted === 0 && tries < 50 && most > least; tries++)
    try {
      return await tryPort(least + Math.floor(Math.random() * (most - least)));
    } catch (error) {
      if (!isTaken(error)) throw error;
    }
  try {
    return await tryPort(wanted);
  } catch (error) {
    throw isTaken(error) ? new Error(`port ${wanted} of 127.0.0.1 is taken`) : error;
  }
};

/**
 * Makes a folder and gives it to a user, who must be able to get there.
 * @param {string} dir
 * @param {User} [user]
 */
export const makeFolder = async (dir, user) => {
  mkdirSync(dir, { recursive: true, mode: 0o755 });
  if (!user) return;
  chownSync(dir, user.uid, user.gid);
  const { code } = await run('/bin/sh', ['-c', 'test -w "$1"', 'sh', dir], { user, cwd: '/' });
  if (code !== 0)
    throw new Error(`uid ${user.uid} cannot get to ${dir}: each folder above it must let that user search it`);
};

/** @param {number} duration milliseconds */
const pause = (duration) => new Promise((resolve) => setTimeout(resolve, duration));

/**
 * Looks until `probe` gives something.
 * @template T
 * @param {() => T | undefined | false | Promise<T | undefined | false>} probe
 * @param {{ what: string, timeout?: number, interval?: number }} options milliseconds
 * @returns {Promise<T>}
 */
export const waitFor = async (probe, { what, timeout = 30_000, interval = 20 }) => {
  const end = Date.now() + timeout;
  for (;;) {
    const found = await probe();
    if (found !== undefined && found !== false) return found;
    if (Date.now() > end) throw new Error(`${what}: not within ${timeout} ms`);
    await pause(interval);
  }
};

/**
 * A server that this process started.
 * @typedef {object} Service
 * @property {string} url
 * @property {number} port
 * @property {number | null} pid null when it is somebody else's
 * @property {Promise<number | null>} exited resolves with its exit code once it has ended
 * @property {() => Promise<void>} stop ends it in order; by force when that takes longer than ten seconds
 * @property {() => Promise<void>} kill kill -9
 */

/**
 * @param {import('node:child_process').ChildProcess} child
 * @param {NodeJS.Signals} gentle
 * @returns {Pick<Service, 'exited' | 'stop' | 'kill'>}
 */
export const controls = (child, gentle) => {
  /** @type {Promise<number | null>} */
  const exited = new Promise((resolve) => {
    child.once('exit', (code) => resolve(code));
    child.once('error', () => resolve(null));
  });
  const end = async (/** @type {NodeJS.Signals} */ signal) => {
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
    child.kill(signal);
    const force = setTimeout(() => child.kill('SIGKILL'), 10_000);
    await exited;
    clearTimeout(force);
  };
  return { exited, stop: () => end(gentle), kill: () => end('SIGKILL') };
};
