/**
 * omnivisor restore --from DIR --key FILE [--at MOMENT] [--replace] [--json]
 *   --from DIR     a backup
 *   --key FILE     the key that closed its secrets
 *   --at MOMENT    only what had happened then: a time (RFC 3339) or a position of the log
 *   --replace      put aside the log, the images and the secrets that are there
 */
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { ROLES } from '../../deploy/roles.mjs';
import { argumentsOf } from '../arguments.mjs';
import { postgresBinaries, startPostgres } from '../services/postgres.mjs';
import { Refused } from '../services/process.mjs';
import { file, folder, Home } from '../start/home.mjs';
import { hold } from '../start/lock.mjs';
import { built } from '../start/options.mjs';
import { refuseSecond } from '../start/preflight.mjs';
import { runtime } from '../start/runtime.mjs';
import { clearState } from '../start/state.mjs';
import { serviceUser } from '../start/system.mjs';
import { checkFile, checkManifest, copyFile, FORMAT, keyId, open, PATH, readKey, readLines } from './archive.mjs';
import { SECRETS } from './backup.mjs';

const KEEPER = ROLES.find(({ service }) => service === 'api-gateway');
/** What is restored. Hosts and their guests are not. */
const PARTS = ['postgres', 'images', 'secrets', 'bootstrap.json'];
/** Streams of the log that went on after the backup; new ones are made of the restored log. */
const DERIVED = ['nats'];
const TIME = /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/;

const momentOf = (text) => {
  if (/^\d{1,15}$/.test(text)) return { position: Number(text) };
  const time = TIME.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(time)) throw new Refused('neither a position of the log nor a time (RFC 3339)');
  return { time };
};

/** @param {string[]} args */
export const restoreOptions = (args) => {
  const path = { type: 'string', required: true, read: resolve };
  const flag = { type: 'boolean' };
  const options = { from: path, key: path, at: { type: 'string', read: momentOf }, replace: flag, json: flag };
  return argumentsOf(import.meta.url, { args, options }).values;
};

/** @returns {Promise<any>} the manifest of a backup whose every file is as whoever has the key made it */
const checked = async (from, key, keyFile) => {
  const path = join(from, 'manifest.json');
  if (!existsSync(path)) throw new Refused(`${from} is no backup: it has no manifest.json`);
  const manifest = JSON.parse(readFileSync(path, 'utf8'));
  if (manifest.format !== FORMAT)
    throw new Refused(`this release reads backups of form ${FORMAT}, not ${manifest.format}`);
  if (keyId(key) !== manifest.secrets?.closedBy) throw new Refused(`${keyFile} is not the key that closed this backup`);
  checkManifest(key, manifest);
  for (const entry of manifest.files) {
    if (!PATH.test(entry.path)) throw new Refused(`a backup has no file ${entry.path}`);
    await checkFile(from, entry);
  }
  return manifest;
};

const isThere = (path) => existsSync(path) && (!lstatSync(path).isDirectory() || readdirSync(path).length > 0);

/** The database of the backup, in a folder of its own. */
const loadDatabase = async (from, place, { user, root, secret, upTo }) => {
  const { migrate } = await built('libs/eventsourcing/dist/postgres/index.js');
  const { loadDatabase: load } = await built('libs/eventsourcing/dist/backup/index.js');
  const { default: pg } = await import('pg');
  const server = await startPostgres({
    dir: join(place, 'postgres'),
    binaries: postgresBinaries(root),
    ...(user ? { user } : {}),
  });
  try {
    const client = new pg.Client({ connectionString: server.url });
    await client.connect();
    await client.query('create database omnivisor');
    await client.end();
    const owner = server.urlOf('omnivisor');
    const roles = ROLES.map((role) => ({ ...role, password: secret(`${role.role}.password`) }));
    await migrate(owner, roles);
    const service = server.urlOf('omnivisor', KEEPER.role, secret(`${KEEPER.role}.password`));
    const names = ['events', 'checkpoints', 'tiles', 'secrets'];
    const lines = Object.fromEntries(names.map((name) => [name, readLines(from, `${name}.jsonl.gz`)]));
    return await load(lines, { owner, service, schema: KEEPER.schema, ...(upTo ? { upTo } : {}) });
  } finally {
    await server.stop();
  }
};

const placeImages = async (from, place, files, user) => {
  for (const path of ['images', 'images/blobs', 'images/incoming']) folder(join(place, path), 0o700, user);
  for (const { path } of files) {
    if (!path.startsWith('images/')) continue;
    folder(join(place, dirname(path)), 0o700, user);
    await copyFile(join(from, path), place, path);
    if (user) chownSync(join(place, path), user.uid, user.gid);
  }
};

/** Puts what was restored where it belongs, and what is there aside; all of it, or none when something cannot be moved. */
const exchange = (data, place, aside) => {
  const moved = [];
  const move = (from, to) => {
    renameSync(from, to);
    moved.unshift([to, from]);
  };
  try {
    for (const part of [...PARTS, ...DERIVED]) {
      if (isThere(join(data, part))) {
        mkdirSync(aside, { recursive: true, mode: 0o700 });
        chmodSync(aside, 0o700);
        move(join(data, part), join(aside, part));
      } else rmSync(join(data, part), { recursive: true, force: true });
      if (existsSync(join(place, part))) move(join(place, part), join(data, part));
    }
  } catch (error) {
    for (const [from, to] of moved) renameSync(from, to);
    throw error;
  }
};

/** Makes a control plane of a backup; what was there is put aside, and nothing of it is lost when this fails. */
export const restore = async ({ from, key: keyFile, at: upTo, replace, json }, homePath) => {
  const key = readKey(keyFile);
  const manifest = await checked(from, key, keyFile);
  const secrets = open(key, readFileSync(join(from, SECRETS)));

  const user = await serviceUser();
  const home = new Home(homePath, user);
  refuseSecond(homePath);
  const there = PARTS.filter((part) => isThere(join(homePath, 'data', part)));
  if (there.length > 0 && !replace)
    throw new Refused(`${homePath} has a cloud already (${there.join(', ')}): --replace puts it aside`);
  home.prepare();
  const letGo = await hold(home.data);
  if (!letGo) throw new Refused(`a start of the cloud in ${homePath} is under way`);
  const place = join(home.data, 'restoring');
  try {
    rmSync(place, { recursive: true, force: true });
    folder(place, 0o755, undefined);
    folder(join(place, 'secrets'), 0o711, undefined);
    for (const { path, mode, ofService, text } of secrets)
      file(join(place, path), Buffer.from(text, 'base64'), mode, ofService ? user : undefined);
    await placeImages(from, place, manifest.files, user);
    const { root } = await runtime(user);
    const secret = (name) => readFileSync(join(place, 'secrets', name), 'utf8').trim();
    const loaded = await loadDatabase(from, place, { user, root, secret, upTo });
    const aside = join(home.data, `replaced-${new Date().toISOString().replace(/[:.]/g, '-')}`);
    exchange(home.data, place, aside);
    clearState(homePath);
    if (json) return console.log(JSON.stringify({ ...loaded, aside: existsSync(aside) ? aside : null }, null, 2));
    console.log(`restored: the log up to position ${loaded.position} (${loaded.recordedAt})`);
    if (loaded.cut > 0) console.log(`${loaded.cut} events that came later were left out`);
    if (existsSync(aside)) console.log(`what was there is in ${aside}`);
    console.log('next: npm start; then omnivisor host quarantine list, omnivisor audit verify --checkpoint FILE');
  } finally {
    rmSync(place, { recursive: true, force: true });
    await letGo();
  }
};
