import { createCipheriv, createDecipheriv, createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { createReadStream, createWriteStream, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createGzip } from 'node:zlib';
import { Refused } from '../services/process.mjs';

/** What a backup is made of; another form gets another number. */
export const FORMAT = 1;

/** @typedef {{ path: string, bytes: number, sha256: string }} Entry a file of a backup */

/** Counts and hashes what passes. */
const measure = () => {
  const hash = createHash('sha256');
  let bytes = 0;
  const stream = new Transform({
    transform(chunk, _, done) {
      hash.update(chunk);
      bytes += chunk.length;
      done(null, chunk);
    },
  });
  return { stream, entry: (path) => ({ path, bytes, sha256: hash.digest('hex') }) };
};

/** Writes rows, a JSON line each, compressed. @returns {Promise<Entry & { rows: number, last: any }>} */
export const writeLines = async (folder, path, rows) => {
  let count = 0;
  let last = null;
  const lines = async function* () {
    for await (const row of rows) {
      count++;
      last = row;
      yield `${JSON.stringify(row)}\n`;
    }
  };
  const { stream, entry } = measure();
  const to = createWriteStream(join(folder, path), { flags: 'wx', mode: 0o600, flush: true });
  await pipeline(Readable.from(lines()), createGzip({ level: 4 }), stream, to);
  return { ...entry(path), rows: count, last };
};

/** @returns {AsyncIterable<any>} */
export async function* readLines(folder, path) {
  const unpacked = createReadStream(join(folder, path)).pipe(createGunzip());
  for await (const line of createInterface({ input: unpacked, crlfDelay: Number.POSITIVE_INFINITY }))
    yield JSON.parse(line);
}

/** Copies a file. @returns {Promise<Entry>} */
export const copyFile = async (from, folder, path, options = {}) => {
  const { stream, entry } = measure();
  await pipeline(
    createReadStream(from),
    stream,
    createWriteStream(join(folder, path), { mode: 0o600, flush: true, ...options }),
  );
  return entry(path);
};

/** @param {string} folder @param {Entry} entry @throws Refused when a file is not the one of the manifest */
export const checkFile = async (folder, { path, bytes, sha256 }) => {
  const { stream, entry } = measure();
  try {
    await pipeline(createReadStream(join(folder, path)), stream, async (chunks) => {
      for await (const _ of chunks);
    });
  } catch (error) {
    throw new Refused(`the backup's ${path}: ${error.code === 'ENOENT' ? 'is not there' : error.message}`);
  }
  const found = entry(path);
  if (found.sha256 !== sha256 || found.bytes !== bytes) throw new Refused(`the backup's ${path} was changed`);
};

const macOf = (key, manifest) =>
  createHmac('sha256', key).update('manifest ').update(JSON.stringify(manifest)).digest('hex');

/** The manifest with a proof that whoever has the key made it. @param {Buffer} key @param {object} manifest */
export const signed = (key, manifest) => ({ ...manifest, mac: macOf(key, manifest) });

/** @param {Buffer} key @throws Refused when somebody else made or changed it */
export const checkManifest = (key, { mac, ...manifest }) => {
  const [found, made] = [String(mac), macOf(key, manifest)].map((text) => Buffer.from(text));
  if (found.length !== made.length || !timingSafeEqual(found, made))
    throw new Refused("the backup's manifest was changed, or is of another key");
};

/** The files that a backup may have. */
export const PATH = /^(?:[a-z]+\.jsonl\.gz|secrets\.closed|images\/blobs\/[\w-]+\/[\w-]+)$/;

const ALGORITHM = 'aes-256-gcm';

/** The key of a file: 32 bytes in hexadecimal. @throws Refused */
export const readKey = (path) => {
  let text;
  try {
    text = readFileSync(path, 'utf8').trim();
  } catch (error) {
    throw new Refused(`--key ${path}: ${error.code === 'ENOENT' ? 'is not there' : error.message}`);
  }
  if (!/^[0-9a-f]{64}$/.test(text)) throw new Refused(`--key ${path} has no key of a backup`);
  return Buffer.from(text, 'hex');
};

/** Makes a key that nobody had before. */
export const makeKey = (path) =>
  writeFileSync(path, `${randomBytes(32).toString('hex')}\n`, { flag: 'wx', mode: 0o600, flush: true });

/** Which key closed something, without telling it. @param {Buffer} key */
export const keyId = (key) => createHash('sha256').update('backup key ').update(key).digest('hex').slice(0, 16);

/** @param {Buffer} key @param {unknown} value @returns {Buffer} */
export const close = (key, value) => {
  const nonce = randomBytes(12);
  const cipher = createCipheriv(ALGORITHM, key, nonce);
  return Buffer.concat([nonce, cipher.update(JSON.stringify(value)), cipher.final(), cipher.getAuthTag()]);
};

/** @param {Buffer} key @param {Buffer} closed @throws Refused */
export const open = (key, closed) => {
  try {
    const decipher = createDecipheriv(ALGORITHM, key, closed.subarray(0, 12), { authTagLength: 16 });
    decipher.setAuthTag(closed.subarray(-16));
    return JSON.parse(Buffer.concat([decipher.update(closed.subarray(12, -16)), decipher.final()]).toString('utf8'));
  } catch {
    throw new Refused('the key does not open the secrets of this backup');
  }
};
