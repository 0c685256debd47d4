import { readFileSync, statSync } from 'node:fs';
import { Refused, run } from '../services/process.mjs';
import { isRoot } from './sudo.mjs';

const USER = 'omnivisor';
const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };

/** The lines of /etc/passwd. */
const accounts = () =>
  readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'))
    .map(([name, , uid, gid, , home]) => ({ name, uid: Number(uid), gid: Number(gid), home }));

/** @returns {import('./home.mjs').User | undefined} the services' user, where it has been made */
export const knownUser = () => {
  const found = accounts().find(({ name }) => name === USER);
  return found && { uid: found.uid, gid: found.gid };
};

/** The user that everything but the agent runs as; undefined when the caller is not root: then it is the caller. */
export const serviceUser = async () => {
  if (!isRoot()) return undefined;
  const known = knownUser();
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
  const done = await run('useradd', args, { env });
  const made = knownUser();
  if (!made) throw new Refused(`useradd ${USER} failed: ${done.stderr.trim()}`);
  return made;
};

/** Who called, behind sudo too: the files for clients belong to them. */
export const caller = () => {
  const uid = Number(process.env.SUDO_UID ?? process.getuid?.());
  const gid = Number(process.env.SUDO_GID ?? process.getgid?.());
  return { uid, gid };
};

/**
 * Whom a folder belongs to, as somebody to run as: what root makes in a clone of somebody else is theirs too.
 * @param {string} folder @returns {{ user?: import('./home.mjs').User, env: NodeJS.ProcessEnv }}
 */
export const ownerOf = (folder) => {
  const { uid, gid } = statSync(folder);
  if (!isRoot() || uid === 0) return { env: process.env };
  const account = accounts().find((a) => a.uid === uid);
  return { user: { uid, gid }, env: { ...process.env, ...(account && { HOME: account.home, USER: account.name }) } };
};
