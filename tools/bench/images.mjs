#!/usr/bin/env node
/**
 * npm run bench:images [-- --json] [--mib N]: what images cost, as ratios to the plain tools in the same run: conversions
 * to `qemu-img` on the same bytes, an upload and a download to `cp`. On a busy machine trust CPU and ratios, not times.
 * Then what hosts cost that start guests from them (hosts.mjs).
 *
 * Builds first what it runs: the image service on ports in memory, with its real store, sandbox and HTTP.
 */
import { spawn, spawnSync } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { mkdtempSync, openSync, rmSync, statSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { argumentsOf, whole } from '../arguments.mjs';
import { ROOT } from '../start/options.mjs';
import { loadAverage } from './measure.mjs';

const { json: asJson, mib } = argumentsOf(import.meta.url, {
  options: { json: { type: 'boolean' }, mib: { type: 'string', default: '256', read: whole(1) } },
}).values;
const MIB = 1024 * 1024;
const SIZE = mib * MIB;
const say = (line) => (asJson ? console.error(line) : console.log(line));
const round = (n, digits = 2) => Number(n.toFixed(digits));

const built = spawnSync(join(ROOT, 'node_modules/.bin/tsc'), ['-b', 'apps/image-service'], {
  cwd: ROOT,
  stdio: 'inherit',
});
if (built.status !== 0) process.exit(1);
const from = (path) => import(join(ROOT, 'apps/image-service/dist', path));
const { startImageCloud } = await from('testing/image-cloud.js');
const { FileImageStore } = await from('store/index.js');
const { Sandbox } = await from('sandbox/sandbox.js');
const { imagesTable } = await from('image/image.projection.js');

/** CPU of this process and its ended children, in seconds. */
const cpu = () => {
  const own = process.cpuUsage();
  const text = spawnSync('cat', [`/proc/${process.pid}/stat`], { encoding: 'utf8' }).stdout;
  const f = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return (own.user + own.system) / 1e6 + (Number(f[13]) + Number(f[14])) / 100;
};
const measured = async (work) => {
  const before = cpu();
  const started = performance.now();
  await work();
  const seconds = (performance.now() - started) / 1_000;
  return {
    seconds: round(seconds, 3),
    cpuSeconds: round(cpu() - before, 3),
    mibPerSecond: round(SIZE / MIB / seconds, 0),
  };
};

const folder = mkdtempSync(join(tmpdir(), 'bench-images-'));
const path = (name) => join(folder, name);
const run = (command, args) => {
  const { status, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command}: ${stderr}`);
};

/** A client of its own, so that its CPU is not that of the service's process. */
const curl = (...args) =>
  new Promise((resolve, reject) => {
    const child = spawn('curl', ['-sSf', '-H', 'x-auth-token: p1', ...args], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    child.once('error', reject);
    child.once('exit', (code) => (code === 0 ? resolve() : reject(new Error(`curl ended with ${code}`))));
  });

/** A disk of which half is data that does not compress, in pieces with holes between them. */
const makeDisk = () => {
  const file = openSync(path('disk.raw'), 'w');
  const piece = Buffer.alloc(2 * MIB);
  for (let at = 0; at < SIZE; at += 4 * MIB) {
    randomFillSync(piece);
    writeSync(file, piece, 0, piece.length, at);
  }
  run('truncate', ['-s', String(SIZE), path('disk.raw')]);
};

/** As durable as what the service keeps. */
const convertAlone = (driver, options) => {
  run('qemu-img', ['convert', '-f', 'raw', '-O', driver, ...options, path('disk.raw'), path('reference')]);
  run('sync', [path('reference')]);
};

const REFERENCE = {
  qcow2: ['qcow2'],
  vhd: ['vpc', '-o', 'subformat=dynamic,force_size=on'],
  'vhd-fixed': ['vpc', '-o', 'subformat=fixed,force_size=on'],
  vhdx: ['vhdx', '-o', 'subformat=dynamic'],
  vdi: ['vdi'],
  'vmdk-sparse': ['vmdk', '-o', 'subformat=monolithicSparse'],
  vmdk: ['vmdk', '-o', 'subformat=streamOptimized'],
  ova: ['vmdk', '-o', 'subformat=streamOptimized'],
};

/** In a process of its own, when nothing else is under way. @returns what it measured, as JSON */
const benchHosts = () => {
  const { status, stdout } = spawnSync(process.execPath, [join(ROOT, 'tools/bench/hosts.mjs')], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (status !== 0) throw new Error('the bench of hosts failed');
  return JSON.parse(stdout);
};

let cloud;
let result;
try {
  const load = loadAverage();
  makeDisk();
  cloud = await startImageCloud({
    store: await FileImageStore.open(path('store')),
    sandbox: Sandbox.detect(),
    settings: { maxImageSize: 2 ** 40, formsCapacity: 2 ** 40 },
  });
  const port = await cloud.app.listen(0, '127.0.0.1');
  const create = async () => {
    const answer = await fetch(`http://127.0.0.1:${port}/image/v2/images`, {
      method: 'POST',
      headers: { 'x-auth-token': 'p1', 'content-type': 'application/json' },
      body: JSON.stringify({ disk_format: 'raw', container_format: 'bare' }),
    });
    return (await answer.json()).id;
  };

  say(`a disk of ${SIZE / MIB} MiB, half of it data; load average ${load}`);
  const copy = await measured(async () =>
    run('sh', ['-c', `cp --sparse=never ${path('disk.raw')} ${path('copy')} && sync ${path('copy')}`]),
  );
  const id = await create();
  const url = `http://127.0.0.1:${port}/image/v2/images/${id}/file`;
  const upload = await measured(() =>
    curl('-T', path('disk.raw'), '-H', 'content-type: application/octet-stream', url),
  );
  const download = await measured(() => curl('-o', path('download'), url));
  const row = await (await cloud.core.fresh()).get(imagesTable, id);
  await cloud.guests.idle();
  const forms = {};
  for (const [form, [driver, ...options]] of Object.entries(REFERENCE)) {
    const reference = await measured(async () => convertAlone(driver, options));
    const ours = await measured(() => cloud.forms.ready(row, form, 600_000));
    forms[form] = {
      ours,
      qemuImg: reference,
      ratio: round(ours.seconds / reference.seconds),
      cpuRatio: round(ours.cpuSeconds / Math.max(reference.cpuSeconds, 0.001)),
      mib: round(statSync(path('reference')).size / MIB, 0),
    };
  }
  const ratio = (one) => ({ ...one, ratio: round(one.seconds / copy.seconds) });
  result = {
    mib: SIZE / MIB,
    load: { before: load, after: loadAverage() },
    cp: copy,
    upload: ratio(upload),
    download: ratio(download),
    forms,
  };
} finally {
  await cloud?.stop();
  rmSync(folder, { recursive: true, force: true });
}

result.hosts = benchHosts();
if (asJson) console.log(JSON.stringify(result, null, 2));
else {
  const line = (name, r, than) =>
    console.log(
      `${name.padEnd(12)} ${r.seconds} s, ${r.cpuSeconds} s CPU, ${r.mibPerSecond} MiB/s; ${r.ratio} times ${than}`,
    );
  console.log(`cp and sync   ${result.cp.seconds} s, ${result.cp.cpuSeconds} s CPU, ${result.cp.mibPerSecond} MiB/s`);
  line('upload', result.upload, 'cp');
  line('download', result.download, 'cp');
  for (const [form, f] of Object.entries(result.forms))
    console.log(
      `${form.padEnd(12)} ${f.ours.seconds} s, ${f.ours.cpuSeconds} s CPU; qemu-img alone ${f.qemuImg.seconds} s, ${f.qemuImg.cpuSeconds} s CPU; ${f.ratio} times it (CPU ${f.cpuRatio})`,
    );
  console.log(`load average ${result.load.before} before, ${result.load.after} after`);
  const { spawned, kept, bars, load } = result.hosts;
  console.log(
    `20 guests of QEMU at once: ${JSON.stringify(spawned.many)}; one at a time: ${JSON.stringify(spawned.one)}`,
  );
  console.log(
    `an agent with 2,000 fake guests: ${kept.memoryOfMostMib} MiB; at rest ${kept.looks.join(', ')} % of a core`,
  );
  console.log(`load average ${load.before} before, ${load.after} after`);
  for (const b of bars) console.log(`${b.met ? 'met   ' : 'MISSED'} ${b.name}: ${b.measured} (bar ${b.bar})`);
}
