import { accessSync, constants, existsSync, readFileSync, statfsSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { hasApt } from '../services/debian.mjs';
import { Refused, which } from '../services/process.mjs';
import { dependenciesInstalled } from './dependencies.mjs';
import { reachablePlace, searchable } from './home.mjs';
import { howToInstall, missingPackages } from './needs.mjs';
import { ROOT } from './options.mjs';
import { isAlive } from './processes.mjs';
import { livingProcesses, readState } from './state.mjs';
import { isRoot } from './sudo.mjs';
import { knownUser } from './system.mjs';

const MIB = 1024 * 1024;
/** What a first start and a running cloud take, in MiB. */
const ROOM = { packages: 900, first: 2_048, later: 256 };

/** The nearest folder above a path that is there already. */
const existing = (path) => (existsSync(path) ? path : existing(dirname(path)));

/** @param {string} host @param {number} port */
const portFree = (host, port) =>
  new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (error) => {
      if (error.code === 'EADDRINUSE') resolve(false);
      else reject(new Refused(`cannot listen on ${host}: ${error.message}`));
    });
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(true)));
  });

/** @throws Refused when a cloud runs from there, or the remains of one */
export const refuseSecond = (home) => {
  const state = readState(home);
  if (state && isAlive(state.supervisor))
    throw new Refused(
      `a cloud runs from ${home} already (pid ${state.supervisor.pid}, ${state.endpoint}); end it with npm stop`,
    );
  const left = livingProcesses(state);
  if (left.length > 0)
    throw new Refused(
      `an earlier run was killed and left ${left.length} processes behind (${left.map((p) => p.pid).join(', ')}); end them with npm stop`,
    );
};

const requireSystem = () => {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19))
    throw new Refused(`Node ${process.version} is too old: 20.19 or newer is needed`);
  if (process.platform !== 'linux')
    throw new Refused(`this start is for Linux, not ${process.platform}; see docs/operating/`);
};

const requireRights = (home, options) => {
  if (options.agents > 0 && !isRoot())
    throw new Refused(
      'a compute agent makes network namespaces and tap devices, which needs root: run `sudo npm start`, or start without one: `npm start -- --agents 0 --fake-hosts 3`',
    );
  if (isRoot() && !which('useradd') && !existsSync('/usr/sbin/useradd'))
    throw new Refused('services run as a user of their own, and useradd is not here: install the package passwd');
  const above = existing(home);
  const writable = [[above, 'set OMNIVISOR_HOME to a folder of yours']];
  if (!dependenciesInstalled(ROOT)) writable.push([ROOT, 'its packages have to be installed there first']);
  for (const [folder, advice] of writable)
    try {
      accessSync(folder, constants.W_OK);
    } catch {
      throw new Refused(`no right to write in ${folder}; ${advice}`);
    }
};

/** Services that cannot reach `home` or the clone have a part of it below /var/lib. */
const requireRoom = (home) => {
  const fresh = !existsSync(join(home, 'data'));
  const user = isRoot() ? (knownUser() ?? { uid: -1, gid: -1 }) : undefined;
  const data = searchable(home, user) ? home : reachablePlace(home);
  const needed = new Map();
  const need = (path, mib) => {
    const folder = existing(path);
    needed.set(folder, (needed.get(folder) ?? 0) + mib);
  };
  need(data, fresh ? ROOM.first : ROOM.later);
  if (!dependenciesInstalled(ROOT)) need(ROOT, ROOM.packages);
  for (const [folder, mib] of needed) {
    const { bavail, bsize } = statfsSync(folder);
    const free = Math.floor((bavail * bsize) / MIB);
    if (free < mib) throw new Refused(`${folder} has ${free} MiB left, ${mib} MiB are needed`);
  }
};

const requireNats = () => {
  if (!process.env.NATS_URL) return;
  const seed = process.env.OMNIVISOR_NATS_ACCOUNT_SEED_FILE;
  if (!seed)
    throw new Refused(
      'NATS_URL is set: OMNIVISOR_NATS_ACCOUNT_SEED_FILE has to name the seed of the account that signs users there',
    );
  try {
    readFileSync(seed);
  } catch (error) {
    throw new Refused(`OMNIVISOR_NATS_ACCOUNT_SEED_FILE: ${error.message}`);
  }
};

/** Services are not root, whoever starts them. @param {{ port: number }} options */
const requireHighPort = ({ port }) => {
  const lowest = Number(readFileSync('/proc/sys/net/ipv4/ip_unprivileged_port_start', 'utf8'));
  if (port < lowest)
    throw new Refused(`port ${port} is for root only, and the API does not run as root: choose one from ${lowest} on`);
};

/**
 * Everything that would make a start fail half way, found before anything is changed.
 * @throws Refused with what to do about it
 */
export const preflight = async (home, options) => {
  requireSystem();
  refuseSecond(home);
  requireRights(home, options);
  requireNats();
  requireHighPort(options);
  const packages = await missingPackages(home, options);
  if (packages.length > 0 && !hasApt()) throw new Refused(howToInstall(packages));
  requireRoom(home);
  for (let i = 0; i < options.gateways; i += 1)
    if (!(await portFree(options.listen, options.port + i)))
      throw new Refused(
        `port ${options.port + i} of ${options.listen} is taken by another program; choose another with --port`,
      );
};
