#!/usr/bin/env node
/**
 * npm test            everything: build, types of the specs, lint, boundaries, specs, integration, end to end
 * npm test -- --fast  without the end-to-end part and without real guests
 * npm test -- PATH…   the same checks, and only the tests whose path contains one of PATH
 *
 * Ends with one line `N passed, N failed` over all of it (each check counts as one test), exit status 1 on a failure. A test
 * of processes and guests that fails is tried once more; one that passes then is named as FLAKY, which is a bug to mend.
 */
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { argumentsOf } from '../arguments.mjs';
import { buildVcsim } from '../doubles/vcsim/build.mjs';
import { installDependencies } from '../start/dependencies.mjs';
import { installClients } from './clients.mjs';
import { endProcessesOf, RUN_VARIABLE } from './own-processes.mjs';
import { installPackages } from './packages.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
/** CI ends a run after an hour, and says nothing of it; what is not done by then has failed. */
const BUDGET = 50 * 60_000;

const {
  values: { fast },
  positionals: paths,
} = argumentsOf(import.meta.url, { allowPositionals: true, options: { fast: { type: 'boolean' } } });

const run = randomUUID();
const folder = mkdtempSync(join(tmpdir(), 'ov-test-'));
chmodSync(folder, 0o755); // PostgreSQL runs as another user below it
const env = { ...process.env, [RUN_VARIABLE]: run, TMPDIR: folder, NO_UPDATE_NOTIFIER: '1', NO_COLOR: '1' };
const started = Date.now();
const total = { passed: 0, failed: 0 };
const skips = [];
const failures = [];
const flaky = [];
const notes = [];

const running = new Set();

/** Runs a command of ours in a process group of its own; null when the time was up. */
const command = (name, args) =>
  new Promise((resolve, reject) => {
    const child = spawn(name, args, { cwd: root, env, stdio: ['ignore', 'inherit', 'inherit'], detached: true });
    running.add(child);
    const left = Math.max(1_000, BUDGET - (Date.now() - started));
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      endGroup(child);
    }, left);
    child.once('error', reject);
    child.once('exit', (code) => {
      clearTimeout(timer);
      endGroup(child);
      running.delete(child);
      resolve(late ? null : (code ?? 1));
    });
  });
const endGroup = (child) => {
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch (error) {
    if (error.code !== 'ESRCH') throw error;
  }
};

const bin = (name) => join(root, 'node_modules', '.bin', name);

/** A check counts as one test. */
const check = async (name, program, args) => {
  console.log(`\n== ${name}`);
  const code = await command(program, args);
  if (code === 0) total.passed += 1;
  else fail(code === null ? `${name}: out of time` : name);
};
const fail = (what) => {
  total.failed += 1;
  failures.push(what);
};

const vitest = async (name, args) => {
  console.log(`\n== ${name}`);
  const since = Date.now();
  const report = join(folder, `${randomUUID()}.json`);
  const reporters = ['--reporter=dot', '--reporter=./tools/test/reporter.mjs', `--outputFile=${report}`];
  const code = await command(bin('vitest'), ['run', '--passWithNoTests', ...reporters, ...args]);
  if (!existsSync(report)) {
    if (code !== 0) fail(code === null ? `${name}: out of time` : `${name}: vitest ended with ${code}`);
    return;
  }
  const { passed, skipped, failures: found, flaky: again, slowest } = JSON.parse(readFileSync(report, 'utf8'));
  const slow = slowest.map(({ file, seconds }) => `${file} ${seconds} s`).join(', ');
  console.log(`${name}: ${Math.round((Date.now() - since) / 1000)} s; slowest ${slow}`);
  total.passed += passed;
  skips.push(...skipped);
  flaky.push(...again);
  for (const failure of found) fail(failure);
  if (code !== 0 && found.length === 0) fail(`${name}: vitest ended with ${code}, see above`);
};

/** Files of tests below a folder, relative to the root. */
const testFiles = (top, suffix) =>
  !existsSync(join(root, top))
    ? []
    : readdirSync(join(root, top), { withFileTypes: true }).flatMap((e) =>
        e.name === 'node_modules' || e.name === 'dist'
          ? []
          : e.isDirectory()
            ? testFiles(`${top}/${e.name}`, suffix)
            : e.name.endsWith(suffix)
              ? [`${top}/${e.name}`]
              : [],
      );
const chosen = (suffix) =>
  ['apps', 'libs', 'tools']
    .flatMap((top) => testFiles(top, suffix))
    .filter((file) => paths.length === 0 || paths.some((p) => file.includes(p)));

const cleanUp = async () => {
  for (const child of running) endGroup(child);
  const left = await endProcessesOf(run);
  if (left > 0) notes.push(`${left} processes were left behind by the tests and have been ended`);
  rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
};

const finish = async () => {
  await cleanUp();
  console.log('');
  for (const note of notes) console.log(`note: ${note}`);
  for (const { file, tests } of skips) console.log(`note: ${tests} skipped in ${file}, which says why`);
  for (const test of flaky) console.log(`FLAKY ${test}`);
  for (const failure of failures) console.log(`FAILED ${failure}`);
  console.log(`took ${Math.round((Date.now() - started) / 1000)} s`);
  console.log(`${total.passed} passed, ${total.failed} failed`);
  process.exit(total.failed === 0 && total.passed > 0 ? 0 : 1);
};

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'])
  process.on(signal, () => {
    fail(`stopped by ${signal}`);
    void finish();
  });

try {
  await installDependencies(root);
  const guests = /\/drivers\/(?!fake\/)/;
  const integration = chosen('.int.spec.ts').filter((file) => !fast || !guests.test(file));
  const endToEnd = fast ? [] : chosen('.e2e.spec.ts');
  const specs = chosen('.spec.ts').filter((file) => !/\.(int|e2e)\.spec\.ts$/.test(file));
  const usesVcenter = [...integration, ...endToEnd].some((file) => file.includes('/drivers/vsphere/'));
  // Takes as long as the checks where it was not built before, so it begins beside them.
  const vcsim = usesVcenter ? buildVcsim(console.log) : null;

  await Promise.all([
    check('build (tsc -b)', bin('tsc'), ['-b']),
    check('types of the specs', bin('tsc'), ['-p', 'tools/test/tsconfig.json']),
  ]);
  await check('format and lint (biome)', bin('biome'), ['check', '--error-on-warnings', '.']);
  await check('boundaries', process.execPath, ['tools/check/boundaries.mjs']);

  if (!fast && integration.length + endToEnd.length > 0) {
    const missing = await installPackages(console.log);
    if (missing) notes.push(`${missing}: tests that need it are skipped`);
    if (endToEnd.some((file) => file.includes('openstack-clients')))
      for (const problem of installClients(console.log)) notes.push(`${problem}: its tests are skipped`);
  }
  const { reason = null } = (await vcsim) ?? {};
  if (reason !== null) notes.push(`${reason}: tests that need it are skipped`);
  if (specs.length > 0) await vitest('specs', specs);
  // Guests and clouds take all of the machine, one at a time; what has a store or a bus of its own does not.
  const again = '--retry=1';
  const oneByOne = ['--maxWorkers=1', again];
  const [withGuests, light] = [true, false].map((has) => integration.filter((file) => guests.test(file) === has));
  if (light.length > 0) await vitest('integration', [again, ...light]);
  if (withGuests.length > 0) await vitest('integration with guests', [...oneByOne, ...withGuests]);
  if (endToEnd.length > 0) await vitest('end to end', [...oneByOne, ...endToEnd]);
} catch (error) {
  fail(error.message);
}
await finish();
