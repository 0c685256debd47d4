import { readFileSync } from 'node:fs';
import { run } from '../services/process.mjs';
import { Refused } from './options.mjs';
import { isRoot, missingCommands } from './preflight.mjs';

const USER = 'omnivisor';
const env = () => ({ ...process.env, DEBIAN_FRONTEND: 'noninteractive', PATH: `${process.env.PATH}:/usr/sbin:/sbin` });

/** Installs the Debian packages whose commands are missing. @param {(line: string) => void} say */
export const installPackages = async (say) => {
  const names = missingCommands().map(([, name]) => name);
  if (names.length === 0) return;
  say(`apt-get install ${names.join(' ')}`);
  const install = ['install', '-y', '-q', '--no-install-recommends', ...names];
  const apt = (args) => run('apt-get', args, { env: env() });
  if ((await apt(install)).code === 0) return;
  const lists = await apt(['update', '-q']);
  if (lists.code !== 0) throw new Refused(`apt-get update failed:\n${lists.stderr.trim()}`);
  const done = await apt(install);
  if (done.code !== 0) throw new Refused(`apt-get install ${names.join(' ')} failed:\n${done.stderr.trim()}`);
};

const userInfo = (name) => {
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((l) => l.startsWith(`${name}:`));
  const [, , uid, gid] = line?.split(':') ?? [];
  return uid === undefined ? null : { uid: Number(uid), gid: Number(gid) };
};

/** The user that everything but the agent runs as; undefined when the caller is not root: then it is the caller. */
export const serviceUser = async () => {
  if (!isRoot()) return undefined;
  const known = userInfo(USER);
  if (known) return known;
  const args = [
    '--system',
    '--no-create-home',
    '--home-dir',
    '/nonexistent',
    '--user-group',
    '--shell',
    '/usr/sbin/nologin',
    USER,
  ];
  const done = await run('useradd', args, { env: env() });
  const made = userInfo(USER);
  if (!made) throw new Refused(`useradd ${USER} failed: ${done.stderr.trim()}`);
  return made;
};

/** Who called, behind sudo too: the files for clients belong to them. */
export const caller = () => {
  const uid = Number(process.env.SUDO_UID ?? process.getuid?.());
  const gid = Number(process.env.SUDO_GID ?? process.getgid?.());
  return { uid, gid };
};
