import { createHash, randomBytes, randomUUID } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { isRoot } from './sudo.mjs';
import { caller } from './system.mjs';

/** @typedef {{ uid: number, gid: number }} User */

/** True when a user may pass through every folder of a path. @param {string} path @param {User | undefined} user */
export const searchable = (path, user) => {
  if (!user) return true;
  for (let folder = path; ; folder = dirname(folder)) {
    if (existsSync(folder)) {
      const { mode, uid, gid } = statSync(folder);
      const bit = uid === user.uid ? 0o100 : gid === user.gid ? 0o010 : 0o001;
      if ((mode & bit) === 0) return false;
    }
    if (folder === '/') return true;
  }
};

/** A place under /var/lib for what services need of a folder that they cannot reach. */
export const reachablePlace = (path) =>
  join('/var/lib/omnivisor', createHash('sha256').update(path).digest('hex').slice(0, 12));

const give = (path, user) => {
  if (isRoot() && user) chownSync(path, user.uid, user.gid);
};

export const folder = (path, mode, user) => {
  mkdirSync(path, { recursive: true });
  chmodSync(path, mode);
  give(path, user);
  return path;
};

/** Writes a file whole or not at all, also when the power is lost: keys are never half there. */
export const file = (path, text, mode, user) => {
  writeFileSync(`${path}.new`, text, { mode, flush: true });
  chmodSync(`${path}.new`, mode);
  give(`${path}.new`, user);
  renameSync(`${path}.new`, path);
  return path;
};

/** Makes the folder of a cloud, with what its supervisor writes: it belongs to the caller. @param {string} path */
export const makeHome = (path) => {
  if (!existsSync(path)) {
    mkdirSync(path, { recursive: true });
    chmodSync(path, 0o755);
    give(path, caller());
  }
  for (const name of ['log', 'run']) folder(join(path, name), 0o755, undefined);
};

/**
 * What a cloud keeps on this machine:
 *   openrc, openrc-demo, clouds.yaml   for the caller, 0600
 *   run/, log/                         of the supervisor
 *   data/                              of the services; a link to /var/lib when they cannot reach `home`
 */
export class Home {
  /** @param {string} path @param {User | undefined} user the services' user */
  constructor(path, user) {
    this.path = path;
    this.user = user;
    this.log = join(path, 'log');
    this.data = join(path, 'data');
  }

  prepare() {
    makeHome(this.path);
    if (!existsSync(this.data) && !searchable(this.path, this.user)) {
      const place = join(reachablePlace(this.path), 'data');
      folder(dirname(dirname(place)), 0o755, undefined);
      folder(dirname(place), 0o755, undefined);
      folder(place, 0o755, undefined);
      symlinkSync(place, this.data);
    }
    if (!existsSync(this.data) || !lstatSync(this.data).isSymbolicLink()) folder(this.data, 0o755, undefined);
    // Services cannot pass the folders above a link either: they are told where it leads.
    this.data = realpathSync(this.data);
    // Owned by root, so that a service that is taken over cannot plant links for root to follow; each file is its reader's.
    folder(this.secrets, 0o711, undefined);
    folder(join(this.data, 'cache'), 0o755, undefined);
    folder(join(this.data, 'agents'), 0o711, undefined);
  }

  get secrets() {
    return join(this.data, 'secrets');
  }

  /** A secret that is made once. @returns {string} its file */
  secret(name, make = () => randomBytes(32).toString('base64url')) {
    const path = join(this.secrets, name);
    return existsSync(path) ? path : file(path, make(), 0o600, this.user);
  }

  secretText(name, make) {
    return readFileSync(this.secret(name, make), 'utf8').trim();
  }

  /** An id that is made once. */
  id(name) {
    return this.secretText(name, () => randomUUID());
  }

  /** Files that clients of the cloud read. */
  forCaller(name, text) {
    return file(join(this.path, name), text, 0o600, caller());
  }
}
