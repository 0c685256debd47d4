#!/usr/bin/env node
/**
 * npm run lab:xen -- [--cache FOLDER] [--machines N] [--nfs PORT:/PATH] [--keep] [--record] [AREA…]
 *
 * Real Xen 4.17 with Debian's dom0, in QEMU without hardware virtualisation: builds it (once), boots it, runs the
 * driver's conformance suite over it by ssh, boots the project's test image in it by pygrub and by direct kernel, and takes
 * a server of a whole cloud through the steps that all hypervisors share.
 *
 *   --cache     where dom0 and test image are kept (.omnivisor-lab in the repository)
 *   --machines  how many of them share the tests (1)
 *   --nfs       what an NFS 4 server on 127.0.0.1 exports, for guests that move, instead of a folder of this machine by 9p;
 *               needs `socat`
 *   --keep      leaves them running after the tests, until it is interrupted
 *   --record    keeps what was shown for the support matrix
 *   AREA        a part of the tests; all of them, when none is named
 *
 * Needs Debian 12 or its like on x86-64, root for the first run and for the cloud, 4 GiB of memory for each machine, of
 * which `migration` has one more for itself, and 4 GiB of disk.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { argumentsOf, askedWrongly, whole } from '../arguments.mjs';
import { Refused, run } from '../services/process.mjs';
import { record, recordedOf } from './record.mjs';
import { dom0 } from './xen/dom0.mjs';
import { guestParts } from './xen/guest.mjs';
import { boot } from './xen/machine.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const portAndPath = (text) => {
  const [, port, path] = /^(\d+):(\/.*)$/.exec(text) ?? [];
  if (path) return { port: Number(port), path };
  throw new Refused('a port of 127.0.0.1 and a path is needed, such as 2049:/export');
};
const { values, positionals } = argumentsOf(import.meta.url, {
  allowPositionals: true,
  options: {
    cache: { type: 'string' },
    machines: { type: 'string', default: '1', read: whole(1) },
    nfs: { type: 'string', read: portAndPath },
    keep: { type: 'boolean', default: false },
    record: { type: 'boolean', default: false },
  },
});

const DRIVER = 'apps/compute-agent/src/drivers/xen';

/** Parts of the tests, by folder and name of the group; each has a machine for itself. What takes long comes first. */
const AREAS = {
  scenario: ['tools/lab/xen', 'a cloud with Xen'],
  recovery: [DRIVER, 'hypervisor driver: xen an agent that ends'],
  image: [DRIVER, 'the test image in a paravirtual domain'],
  guards: [DRIVER, 'guarded ports'],
  settings: [DRIVER, 'settings that an adopted domain would lose'],
  migration: [DRIVER, '(hypervisor driver: xen live migration|a move that is cut off)'],
  ...Object.fromEntries(
    Object.entries({
      ...{ host: 'the host', spawning: 'spawning', power: 'power', pausing: 'pausing', suspending: 'suspending' },
      ...{ rebuilding: 'rebuilding', rescuing: 'rescuing', resizing: 'resizing', snapshots: 'snapshots' },
      ...{ disks: 'attached disks', nics: 'attached network interfaces', log: 'the console log', consoles: 'consoles' },
      adoption: 'adoption',
      ...{ statistics: 'statistics', missing: 'a server that is not there', others: 'guests of others' },
      ...{ concurrency: 'several calls at once', destroying: 'destroying', events: 'events' },
      linux: 'a guest with Linux',
    }).map(([area, group]) => [area, [DRIVER, `hypervisor driver: xen ${group}`]]),
  ),
};
for (const area of positionals)
  if (!Object.hasOwn(AREAS, area))
    askedWrongly(import.meta.url, `there is no area ${area}: ${Object.keys(AREAS).join(', ')}`);
const cache = resolve(values.cache ?? join(root, '.omnivisor-lab'));
const isAlone = values.machines === 1;
const say = (text) => console.error(text);
const seconds = (since) => `${((Date.now() - since) / 1000).toFixed(1)} s`;
const interrupted = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => interrupted.abort());

/** Those in which guests go from one machine to another. */
const WITH_PEER = ['migration'];

/** What an area has said of what it tried, without the tests of other areas. */
const said = (line) => !/^\s*↓/.test(line);

/** Runs an area, and says all of it at once where several run. @returns its exit code */
const suite = (area, settings) =>
  new Promise((done) => {
    const [folder, group] = AREAS[area];
    const child = spawn(
      join(root, 'node_modules/.bin/vitest'),
      ['run', '--config', 'tools/verify/vitest.config.ts', '--reporter=verbose', folder, '-t', `^${group} `],
      {
        cwd: root,
        stdio: ['ignore', 'pipe', 'pipe'],
        env: { ...process.env, NO_COLOR: '1', OMNIVISOR_LAB_XEN: JSON.stringify(settings) },
      },
    );
    const lines = [];
    const tell = isAlone ? (line) => console.log(line) : (line) => lines.push(line);
    for (const input of [child.stdout, child.stderr])
      createInterface({ input }).on('line', (line) => {
        if (said(line)) tell(line);
      });
    interrupted.signal.addEventListener('abort', () => child.kill());
    child
      .once('error', () => done(1))
      .once('close', (code) => {
        if (lines.length > 0) console.log(lines.join('\n'));
        done(code ?? 1);
      });
  });

const shownIn = (file) =>
  existsSync(file)
    ? readFileSync(file, 'utf8')
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line))
    : [];

mkdirSync(cache, { recursive: true });
const folder = mkdtempSync(join(tmpdir(), 'omnivisor-xen-lab-'));
const machines = [];
try {
  let since = Date.now();
  const built = await dom0(cache, say);
  const guests = guestParts(join(cache, 'image'), folder);
  const build = run(join(root, 'node_modules/.bin/tsc'), ['-b'], { cwd: root });
  const { code, stdout } = await build;
  if (code !== 0) throw new Refused(`the build failed:\n${stdout.trim()}`);
  say(`dom0, test image and cloud are there after ${seconds(since)}`);
  since = Date.now();
  const share = join(folder, 'shared');
  mkdirSync(share);
  const storage = values.nfs ? { nfs: values.nfs.port } : { share };
  machines.push(...(await Promise.all(Array.from({ length: values.machines }, () => boot(built, storage, say)))));
  for (const { version, ready, port } of machines)
    say(`${version}; ${ready}; booted in ${seconds(since)}, ssh on 127.0.0.1:${port}`);
  const begun = Date.now();
  const left = positionals.length > 0 ? positionals : Object.keys(AREAS);
  const results = [];
  const work = async ({ port, key, knownHosts, version }) => {
    for (let area = left.shift(); area && !interrupted.signal.aborted; area = left.shift()) {
      const started = Date.now();
      const shown = join(folder, `${area}.shown`);
      const other = WITH_PEER.includes(area) ? await boot(built, storage, say) : null;
      if (other) machines.push(other);
      const peer = other ? { peer: { port: other.port, knownHosts: other.knownHosts, nfs: values.nfs?.path } } : {};
      const code = await suite(area, { port, key, knownHosts, shown, ...guests, ...peer });
      const lines = shownIn(shown);
      const what = { backend: 'xen', level: 'L2', command: 'npm run lab:xen', over: version };
      if (values.record) record(recordedOf('xen'), what, lines);
      const passed = lines.filter(([, , what]) => what === 'passed').length;
      results.push(
        `${area}: ${code === 0 ? 'passed' : 'FAILED'}, ${passed} behaviours of the suite shown, ${seconds(started)}`,
      );
      if (code !== 0) process.exitCode = 1;
      say(`${results.at(-1)}\n`);
    }
  };
  await Promise.all(machines.map(work));
  const loads = loadavg().map((load) => load.toFixed(1));
  say(`the tests took ${seconds(begun)} on ${machines.length} machines, with a load of ${loads.join(', ')}`);
  for (const line of results) say(`  ${line}`);
  if (values.keep && !interrupted.signal.aborted) {
    for (const { key, knownHosts, port } of machines)
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
