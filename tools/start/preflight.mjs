import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, readFileSync, statfsSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname } from 'node:path';
import { which } from '../services/process.mjs';
import { Refused } from './options.mjs';
import { isAlive } from './processes.mjs';
import { livingProcesses, readState } from './state.mjs';

/** What each kind of start needs from Debian: a command to see that it is there, and the package it comes in. */
const PACKAGES = [
  ['qemu-system-x86_64', 'qemu-system-x86'],
  ['qemu-img', 'qemu-utils'],
  ['dnsmasq', 'dnsmasq-base'],
  ['nft', 'nftables'],
  ['ip', 'iproute2'],
  ['xorriso', 'xorriso'],
  ['ssh', 'openssh-client'],
];

const MIB = 1024 * 1024;

export const isRoot = () => process.getuid?.() === 0;

const release = () => {
  try {
    return readFileSync('/etc/os-release', 'utf8');
  } catch {
    return '';
  }
};
export const isDebian = () => /^ID(_LIKE)?=.*\b(debian|ubuntu)\b/m.test(release()) && which('apt-get') !== undefined;

export const missingCommands = () =>
  PACKAGES.filter(
    ([command]) => !which(command) && !existsSync(`/usr/sbin/${command}`) && !existsSync(`/sbin/${command}`),
  );

/** The nearest folder above a path that is there already. */
const existing = (path) => (existsSync(path) ? path : existing(dirname(path)));

/** @param {string} host @param {number} port */
const portFree = (host, port) =>
  new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (error) => {
      if (error.code === 'EADDRINUSE') resolve(false);
      else if (error.code === 'EACCES')
        reject(new Refused(`port ${port} needs more rights than this user has; choose one above 1023 with --port`));
      else reject(new Refused(`cannot listen on ${host}: ${error.message}`));
    });
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(true)));
  });

/**
 * Everything that would make a start fail half way, found before anything is changed.
 * @throws Refused with what to do about it
 */
export const preflight = async (home, options) => {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19))
    throw new Refused(`Node ${process.version} is too old: 20.19 or newer is needed`);
  if (process.platform !== 'linux')
    throw new Refused(`this start is for Linux, not ${process.platform}; see docs/operating/`);

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

  if (options.agents > 0 && !isRoot())
    throw new Refused(
      'a compute agent makes network namespaces and tap devices, which needs root: run `sudo npm start`, or start without one: `npm start -- --agents 0 --fake-hosts 3`',
    );
  if (isRoot() && !which('useradd') && !existsSync('/usr/sbin/useradd'))
    throw new Refused('services run as a user of their own, and useradd is not here: install the package passwd');

  const missing = options.agents > 0 ? missingCommands() : [];
  if (missing.length > 0 && !isDebian()) {
    const list = missing.map(([command, name]) => `${command} (Debian: ${name})`).join(', ');
    throw new Refused(
      `install these first: ${list}. Also needed: python3 with pip or nats-server 2.10.23, see README.md`,
    );
  }

  const above = existing(home);
  try {
    accessSync(above, constants.W_OK);
  } catch {
    throw new Refused(`no right to write in ${above}; set OMNIVISOR_HOME to a folder of yours`);
  }
  const free = (() => {
    const { bavail, bsize } = statfsSync(above);
    return Math.floor((bavail * bsize) / MIB);
  })();
  const needed = existsSync(`${home}/data`) ? 256 : 2_048;
  if (free < needed) throw new Refused(`${above} has ${free} MiB left, ${needed} MiB are needed`);

  for (let i = 0; i < options.gateways; i += 1)
    if (!(await portFree(options.listen, options.port + i)))
      throw new Refused(
        `port ${options.port + i} of ${options.listen} is taken by another program; choose another with --port`,
      );
};

/** Goes on as root by sudo when that asks for no password. @returns {number | null} exit status, or null when this process is to go on */
export const throughSudo = (options, argv) => {
  if (isRoot() || options.agents === 0 || !which('sudo')) return null;
  if (spawnSync('sudo', ['-n', 'true'], { stdio: 'ignore' }).status !== 0) return null;
  const keep = ['OMNIVISOR_HOME', 'NATS_URL', 'PATH', 'HOME']
    .filter((n) => process.env[n])
    .map((n) => `${n}=${process.env[n]}`);
  const done = spawnSync('sudo', ['-n', 'env', ...keep, process.execPath, ...argv], { stdio: 'inherit' });
  return done.status ?? 1;
};
