#!/usr/bin/env node
/**
 * npm run lab:xen -- [--cache FOLDER] [--keep] [--record] [AREA…]
 *
 * Real Xen 4.17 with Debian's dom0, in QEMU without hardware virtualisation: builds it (once), boots it, runs the
 * driver's conformance suite over it by ssh, and boots the project's test image in it by pygrub and by direct kernel.
 *
 *   --cache   where dom0 and test image are kept (.omnivisor-lab in the repository)
 *   --keep    leaves the machine running after the tests, until it is interrupted
 *   --record  keeps what was shown for the support matrix
 *   AREA      a part of the tests; all of them, when none is named
 *
 * Needs Debian 12 or its like on x86-64, root for the first run, 4 GiB of memory and 4 GiB of disk.
 */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Refused } from '../services/process.mjs';
import { record } from './record.mjs';
import { dom0 } from './xen/dom0.mjs';
import { boot } from './xen/machine.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    cache: { type: 'string' },
    keep: { type: 'boolean', default: false },
    record: { type: 'boolean', default: false },
  },
});

/** Parts of the tests by the names of their groups; each has the machine for itself. */
const AREAS = {
  image: 'the test image in a paravirtual domain',
  guards: 'guarded ports',
  ...Object.fromEntries(
    Object.entries({
      ...{ host: 'the host', spawning: 'spawning', power: 'power', pausing: 'pausing', suspending: 'suspending' },
      ...{ rebuilding: 'rebuilding', rescuing: 'rescuing', resizing: 'resizing', snapshots: 'snapshots' },
      ...{ disks: 'attached disks', nics: 'attached network interfaces', log: 'the console log', consoles: 'consoles' },
      ...{ statistics: 'statistics', missing: 'a server that is not there', others: 'guests of others' },
      ...{ concurrency: 'several calls at once', destroying: 'destroying', events: 'events' },
      ...{ linux: 'a guest with Linux', recovery: 'an agent that ends' },
    }).map(([area, group]) => [area, `hypervisor driver: xen ${group}`]),
  ),
};
for (const area of positionals)
  if (!AREAS[area]) {
    console.error(`there is no area ${area}: ${Object.keys(AREAS).join(', ')}`);
    process.exit(2);
  }
const cache = resolve(values.cache ?? join(root, '.omnivisor-lab'));
const say = (text) => console.error(text);
const seconds = (since) => `${((Date.now() - since) / 1000).toFixed(1)} s`;
const interrupted = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => interrupted.abort());

/** The test image as one raw file, and the kernel inside as files of their own. */
const testImage = (folder) => {
  const image = join(root, 'tools/image/image.mjs');
  const built = execFileSync('node', [image, '--cache', join(cache, 'image')], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  }).trim();
  const raw = join(folder, 'test.raw');
  execFileSync('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', built, raw]);
  const take = (name) => {
    // Its boot partition begins at the first MiB.
    execFileSync('mcopy', ['-n', '-i', `${raw}@@1M`, `::/${name}`, join(folder, name)]);
    return join(folder, name);
  };
  return { image: raw, kernel: take('vmlinuz'), ramdisk: take('initrd.img') };
};

const suite = (area, settings) =>
  new Promise((done) => {
    const child = spawn(
      join(root, 'node_modules/.bin/vitest'),
      [
        ...['run', '--config', 'tools/verify/vitest.config.ts', '--reporter=verbose'],
        ...['apps/compute-agent/src/drivers/xen', '-t', `^${AREAS[area]} `],
      ],
      { cwd: root, stdio: 'inherit', env: { ...process.env, OMNIVISOR_LAB_XEN: JSON.stringify(settings) } },
    );
    interrupted.signal.addEventListener('abort', () => child.kill());
    child.once('error', () => done(1)).once('close', (code) => done(code ?? 1));
  });

mkdirSync(cache, { recursive: true });
const folder = mkdtempSync(join(tmpdir(), 'omnivisor-xen-lab-'));
const machines = [];
try {
  let since = Date.now();
  const built = await dom0(cache, say);
  const image = testImage(folder);
  say(`dom0 and test image are there after ${seconds(since)}`);
  since = Date.now();
  const machine = await boot(built);
  machines.push(machine);
  say(`${machine.version}; ${machine.ready}; booted in ${seconds(since)}, ssh on 127.0.0.1:${machine.port}`);
  const { port, key, knownHosts } = machine;
  const begun = Date.now();
  const results = [];
  for (const area of positionals.length > 0 ? positionals : Object.keys(AREAS)) {
    if (interrupted.signal.aborted) break;
    since = Date.now();
    const shown = join(folder, `${area}.shown`);
    const code = await suite(area, { port, key, knownHosts, shown, ...image });
    const lines = existsSync(shown)
      ? readFileSync(shown, 'utf8')
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line))
      : [];
    if (values.record) record(lines, machine.version);
    const passed = lines.filter(([, , what]) => what === 'passed').length;
    results.push(`${area}: ${code === 0 ? 'passed' : 'FAILED'}, ${passed} behaviours shown, ${seconds(since)}`);
    if (code !== 0) process.exitCode = 1;
    say(results.at(-1));
  }
  say(
    `\nthe tests took ${seconds(begun)}, with a load of ${loadavg()
      .map((load) => load.toFixed(1))
      .join(', ')}`,
  );
  for (const line of results) say(`  ${line}`);
  if (values.keep && !interrupted.signal.aborted) {
    say(`ssh -i ${key} -o UserKnownHostsFile=${knownHosts} -p ${port} root@127.0.0.1`);
    await new Promise((over) => interrupted.signal.addEventListener('abort', over));
  }
} catch (error) {
  if (!(error instanceof Refused)) throw error;
  say(error.message);
  process.exitCode = 1;
} finally {
  for (const machine of machines) await machine.close();
  rmSync(folder, { recursive: true });
}
