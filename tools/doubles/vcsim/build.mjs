#!/usr/bin/env node
/**
 * node tools/doubles/vcsim/build.mjs: builds vcsim, once for each version of its sources and of Go, into a folder that
 * outlives test runs, and prints the program's path, or why there is none.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { argumentsOf } from '../../arguments.mjs';

const sources = fileURLToPath(new URL('.', import.meta.url));
const run = promisify(execFile);

/** A toolchain of its own is never fetched; the modules come by the client's own settings. */
const env = { ...process.env, GOTOOLCHAIN: 'local', GOFLAGS: '-mod=readonly', CGO_ENABLED: '0' };

/** What is generated from the API's definition is large and seldom run: it is not worth being optimized. */
const FLAGS = ['-trimpath', '-gcflags=github.com/vmware/govmomi/vim25/...=-N -l', '-ldflags=-s -w'];

const newEnough = (found, wanted) => {
  const [a, b] = [found, wanted].map((version) => version.split('.').map(Number));
  return a[0] - b[0] || a[1] - b[1] ? a[0] > b[0] || (a[0] === b[0] && a[1] > b[1]) : true;
};

/** @returns {Promise<{ path: string } | { path: null, reason: string }>} */
export const buildVcsim = async (say = () => {}) => {
  const wanted = /^go (\S+)$/m.exec(readFileSync(join(sources, 'go.mod'), 'utf8'))[1];
  const version = await run('go', ['env', 'GOVERSION'], { env }).then(
    ({ stdout }) => stdout.trim().replace(/^go/, ''),
    () => null,
  );
  if (version === null) return { path: null, reason: `vcsim is built with Go ${wanted}, and there is no Go here` };
  if (!newEnough(version, wanted))
    return { path: null, reason: `vcsim is built with Go ${wanted}, and here is Go ${version}` };

  const hash = createHash('sha256').update([version, ...FLAGS].join('\0'));
  for (const file of ['go.mod', 'go.sum', 'main.go', 'nfc.go']) hash.update(readFileSync(join(sources, file)));
  const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'omnivisor', 'vcsim');
  const path = join(cache, hash.digest('hex').slice(0, 16));
  if (existsSync(path)) return { path };

  say('building vcsim, which takes a minute the first time');
  mkdirSync(cache, { recursive: true });
  const made = `${path}.${process.pid}`;
  try {
    await run('go', ['build', ...FLAGS, '-o', made, '.'], { cwd: sources, env, maxBuffer: 1 << 24 });
  } catch (error) {
    return { path: null, reason: `vcsim cannot be built: ${(error.stderr ?? error.message).trim().split('\n').pop()}` };
  }
  // What others build at this moment has another kind of name.
  for (const old of readdirSync(cache)) if (/^[0-9a-f]{16}$/.test(old)) rmSync(join(cache, old), { force: true });
  renameSync(made, path);
  return { path };
};

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  argumentsOf(import.meta.url);
  const { path, reason } = await buildVcsim(console.error);
  console.log(path ?? reason);
  process.exit(path ? 0 : 1);
}
