/**
 * omnivisor backup --out DIR --key FILE [--json]
 *   --out DIR    a folder that is not there yet
 *   --key FILE   the key that closes the secrets; made when it is not there. Keep it elsewhere than the backup
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { ROLES } from '../../deploy/roles.mjs';
import { argumentsOf } from '../arguments.mjs';
import { Refused } from '../services/process.mjs';
import { built, ROOT } from '../start/options.mjs';
import { currentServices, readState } from '../start/state.mjs';
import { close, copyFile, FORMAT, keyId, makeKey, readKey, signed, writeLines } from './archive.mjs';

/** The service that has the vault. */
const KEEPER = ROLES.find(({ service }) => service === 'api-gateway');
export const SECRETS = 'secrets.closed';
/** Beside the secrets, what else a start has to find. */
const STEPS = 'bootstrap.json';

/** Login of the service that has the vault, in the cloud that runs from `data`. */
const databaseOf = (home, data) => {
  const postgres = currentServices(readState(home)).find(({ name }) => name === 'postgres');
  if (postgres?.state !== 'running') throw new Refused(`no cloud runs from ${home}: npm start first`);
  const port = readFileSync(join(data, 'postgres.port'), 'utf8').trim();
  const password = readFileSync(join(data, 'secrets', `${KEEPER.role}.password`), 'utf8').trim();
  return `postgres://${KEEPER.role}:${encodeURIComponent(password)}@127.0.0.1:${port}/omnivisor`;
};

/** Copies the image bytes that are there and not copied yet. */
const copyBlobs = async (data, folder, entries) => {
  const blobs = join(data, 'images', 'blobs');
  if (!existsSync(blobs)) return;
  for (const shard of readdirSync(blobs))
    for (const key of readdirSync(join(blobs, shard))) {
      const path = `images/blobs/${shard}/${key}`;
      if (entries.has(path)) continue;
      mkdirSync(join(folder, dirname(path)), { recursive: true, mode: 0o700 });
      try {
        entries.set(path, await copyFile(join(data, path), folder, path));
      } catch (error) {
        // Removed meanwhile, with its image.
        if (error.code !== 'ENOENT') throw error;
        rmSync(join(folder, path), { force: true });
      }
    }
};

/** Keys and passwords of the cloud, and which of them belong to the services' user. */
const secretsOf = (data) => {
  const names = [...readdirSync(join(data, 'secrets')).map((name) => `secrets/${name}`), STEPS];
  return names
    .filter((path) => existsSync(join(data, path)))
    .map((path) => {
      const { mode, uid } = statSync(join(data, path));
      const ofService = uid === statSync(join(data, 'postgres')).uid;
      return { path, mode: mode & 0o777, ofService, text: readFileSync(join(data, path)).toString('base64') };
    });
};

/** @param {string[]} args */
export const backupOptions = (args) => {
  const path = { type: 'string', required: true, read: resolve };
  const options = { out: path, key: path, json: { type: 'boolean' } };
  return argumentsOf(import.meta.url, { args, options }).values;
};

/** Writes what a control plane is made of into a folder, while it runs. @param {ReturnType<typeof backupOptions>} options @param {string} home */
export const backup = async ({ out, key: keyFile, json }, home) => {
  if (existsSync(out)) throw new Refused(`${out} is there already`);
  if ([`${out}/`, `${out}.part/`].some((folder) => keyFile.startsWith(folder)))
    throw new Refused('the key of a backup has to lie elsewhere than the backup');
  const data = join(home, 'data');
  const url = databaseOf(home, data);
  if (!existsSync(keyFile)) makeKey(keyFile);
  const key = readKey(keyFile);
  const folder = `${out}.part`;
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true, mode: 0o700 });

  const { dumpDatabase } = await built('libs/eventsourcing/dist/backup/index.js');
  /** @type {Map<string, import('./archive.mjs').Entry>} */
  const entries = new Map();
  // Before and after the moment of the log: what an image needed then was there at one of these times.
  await copyBlobs(data, folder, entries);
  const parts = {};
  await dumpDatabase(url, KEEPER.schema, async (lines) => {
    for (const [name, rows] of Object.entries(lines)) {
      const { last, rows: count, ...entry } = await writeLines(folder, `${name}.jsonl.gz`, rows);
      entries.set(entry.path, entry);
      parts[name] = { count, last };
    }
  });
  await copyBlobs(data, folder, entries);
  writeFileSync(join(folder, `${SECRETS}.new`), close(key, secretsOf(data)), { mode: 0o600 });
  entries.set(SECRETS, await copyFile(join(folder, `${SECRETS}.new`), folder, SECRETS));
  rmSync(join(folder, `${SECRETS}.new`));

  const { last } = parts.events;
  if (!last) throw new Refused('the log is empty: there is nothing to keep');
  const sealed = parts.checkpoints.last;
  const manifest = {
    format: FORMAT,
    release: JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')).version,
    cloudId: readFileSync(join(data, 'secrets', 'cloud-id'), 'utf8').trim(),
    madeAt: new Date().toISOString(),
    log: { position: last.position, recordedAt: new Date(last.at).toISOString() },
    /** The newest: send it where the backup does not go, to tell later that the backup was not changed. */
    checkpoint: sealed,
    secrets: { count: parts.secrets.count, closedBy: keyId(key) },
    files: [...entries.values()].sort((a, b) => (a.path < b.path ? -1 : 1)),
  };
  writeFileSync(join(folder, 'manifest.json'), `${JSON.stringify(signed(key, manifest), null, 1)}\n`, {
    mode: 0o600,
    flush: true,
  });
  renameSync(folder, out);
  const bytes = manifest.files.reduce((sum, file) => sum + file.bytes, 0);
  const report = {
    out,
    ...manifest.log,
    images: [...entries.keys()].filter((p) => p.startsWith('images/')).length,
    bytes,
  };
  if (json) return console.log(JSON.stringify(report, null, 2));
  console.log(
    `${out}: the log up to position ${report.position} (${report.recordedAt}), ${report.images} files of images, ${bytes} bytes`,
  );
  console.log(`its secrets are closed by ${keyFile}: keep that elsewhere, nothing can be restored without it`);
};
