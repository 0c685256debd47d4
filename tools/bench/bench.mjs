#!/usr/bin/env node
/**
 * npm run bench [-- --json] [--servers N]: what the control plane costs, on fake hosts, with references of the same run:
 * raw node:http for reads, the bare append of the store for writes. CPU is that of all processes, PostgreSQL and NATS
 * included, read from /proc; on a busy machine trust CPU and ratios, not times.
 */
import { fork, spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '../services/process.mjs';
import { adminClient } from '../start/client.mjs';
import { ROOT } from '../start/options.mjs';
import { readState } from '../start/state.mjs';
import { concurrently, cpuSeconds, loadAverage, pssMib, quantile, timed, total } from './measure.mjs';

const asJson = process.argv.includes('--json');
const SERVERS = Number(process.argv[process.argv.indexOf('--servers') + 1]) || 1_000;
const BATCH = Math.max(1, Math.floor(SERVERS / 5));
const say = (line) => (asJson ? console.error(line) : console.log(line));
const ms = (seconds) => seconds * 1_000;
const round = (n, digits = 2) => Number(n.toFixed(digits));

const home = mkdtempSync(join(tmpdir(), 'omnivisor-bench-'));
chmodSync(home, 0o755);
const env = { ...process.env, OMNIVISOR_HOME: home, OMNIVISOR_FAKE_VCPUS: '1024', OMNIVISOR_LOG_LEVEL: 'warn' };
const tool = (name, ...args) =>
  spawnSync(process.execPath, [fileURLToPath(new URL(`../start/${name}`, import.meta.url)), ...args], {
    env,
    encoding: 'utf8',
  });

/** CPU milliseconds of all services for each of `n` calls. */
const cost = async (services, n, work) => {
  const before = total(cpuSeconds(services));
  await work();
  return ms(total(cpuSeconds(services)) - before) / n;
};

const prepare = async (admin) => {
  await admin.put('compute', `/os-quota-sets/${admin.projectId}`, { quota_set: { instances: -1, cores: -1, ram: -1 } });
  await admin.put('network', `/quotas/${admin.projectId}`, { quota: { port: -1 } });
  const { network } = await admin.post('network', '/networks', { network: { name: 'bench' } });
  await admin.post('network', '/subnets', { subnet: { network_id: network.id, ip_version: 4, cidr: '10.80.0.0/16' } });
  const image = await admin.post('image', '/images', { name: 'bench', disk_format: 'raw', container_format: 'bare' });
  await admin.put('image', `/images/${image.id}/file`, new Uint8Array(1024 * 1024), {
    'content-type': 'application/octet-stream',
  });
  const flavor = (await admin.get('compute', '/flavors')).flavors.find((f) => f.name === 'm1.nano');
  return (name) =>
    admin.post('compute', '/servers', {
      server: { name, imageRef: image.id, flavorRef: flavor.id, networks: [{ uuid: network.id }] },
    });
};

const untilActive = (admin, id, interval) =>
  admin.until(
    `${id} to be ACTIVE`,
    60_000,
    async () => {
      const { server } = await admin.get('compute', `/servers/${id}`);
      if (server.status === 'ERROR') throw new Error(`server ${id}: ${server.fault?.message}`);
      return server.status === 'ACTIVE';
    },
    interval,
  );

/** The bare append: one event of a server's size to a new stream each time, through the same store adapter. */
const bareAppend = async (n) => {
  const { PostgresEventStore } = await import(`${ROOT}/libs/eventsourcing/dist/postgres/index.js`);
  const { RandomIds } = await import(`${ROOT}/libs/platform/dist/index.js`);
  const password = readFileSync(join(home, 'data/postgres/password'), 'utf8').trim();
  const port = readFileSync(join(home, 'data/postgres.port'), 'utf8').trim();
  // A database of its own: its events are none of the cloud's.
  const { default: pg } = await import('pg');
  const owner = `postgres://postgres:${encodeURIComponent(password)}@127.0.0.1:${port}`;
  const client = new pg.Client({ connectionString: `${owner}/postgres` });
  await client.connect();
  await client.query('create database bench');
  await client.end();
  const { migrate } = await import(`${ROOT}/libs/eventsourcing/dist/postgres/index.js`);
  await migrate(`${owner}/bench`);
  const ids = new RandomIds();
  const store = new PostgresEventStore({ url: `${owner}/bench`, ids });
  const append = () => {
    const id = ids.uuid();
    const request = `req-${id}`;
    const context = {
      actor: { kind: 'service', service: 'bench' },
      requestId: request,
      correlationId: request,
      causationId: null,
      commandId: id,
    };
    const event = { type: 'ServerLocked', schemaVersion: 1, data: { reason: 'x'.repeat(1_500) }, context };
    return store.append(`server-${id}`, -1, [event]);
  };
  await timed(20, append);
  const times = await timed(n, append);
  await store.close();
  return quantile(times, 0.5);
};

const rawHttp = async (sizes) => {
  const child = fork(fileURLToPath(new URL('./raw-http.mjs', import.meta.url)), {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  try {
    const port = await new Promise((resolve, reject) => {
      child.once('message', resolve);
      child.once('error', reject);
      child.once('exit', () => reject(new Error('the reference server ended')));
    });
    const services = [{ name: 'raw', pid: child.pid }];
    const result = {};
    for (const [name, size] of Object.entries(sizes)) {
      const call = () => fetch(`http://127.0.0.1:${port}/${size}`).then((r) => r.text());
      await timed(50, call);
      let times;
      const cpu = await cost(services, 500, async () => {
        times = await timed(500, call);
      });
      result[name] = { cpuMs: round(cpu, 3), p50Ms: round(quantile(times, 0.5)) };
    }
    return result;
  } finally {
    child.removeAllListeners('exit');
    child.kill();
  }
};

const run = async () => {
  const loadBefore = loadAverage();
  const port = await freePort();
  say('starting a cloud with one fake host');
  const started = tool('start.mjs', '--detach', '--agents', '0', '--fake-hosts', '1', '--port', String(port));
  if (started.status !== 0) throw new Error(`the cloud did not start:\n${started.stdout}${started.stderr}`);
  const services = readState(home).services.filter((s) => s.pid !== null);
  const admin = await adminClient(home);
  const create = await prepare(admin);

  say('one server at a time');
  const alone = await timed(20, async (i) => untilActive(admin, (await create(`alone-${i}`)).server.id, 4));

  say(`${SERVERS} servers on one host, in batches of ${BATCH}`);
  const batches = [];
  /** Of which, by service. */
  const parts = [];
  for (let done = 0; done < SERVERS; done += BATCH) {
    const before = cpuSeconds(services);
    const from = performance.now();
    const cpu = await cost(services, BATCH, async () => {
      const made = [];
      await concurrently(BATCH, 16, async (i) => made.push((await create(`s-${done + i}`)).server.id));
      for (const id of [made[0], made.at(-1)]) await untilActive(admin, id, 250);
      await admin.until(
        'no server in BUILD',
        120_000,
        async () => (await admin.get('compute', '/servers?status=BUILD&limit=1')).servers.length === 0,
        500,
      );
    });
    batches.push(round(cpu));
    const after = cpuSeconds(services);
    parts.push(Object.fromEntries(services.map(({ name }) => [name, round(ms(after[name] - before[name]) / BATCH)])));
    say(
      `  ${done + BATCH} servers: ${round(cpu)} ms CPU each, ${round((performance.now() - from) / 1_000, 1)} s; ${Object.entries(
        parts.at(-1),
      )
        .map(([k, v]) => `${k} ${v}`)
        .join(', ')}`,
    );
  }
  const { servers } = await admin.get('compute', `/servers?limit=${SERVERS}&status=ERROR`);
  if (servers.length > 0) throw new Error(`${servers.length} servers are in ERROR`);

  say('reads');
  const some = (await admin.get('compute', '/servers?limit=1')).servers[0].id;
  const reads = {
    list: () => admin.get('compute', `/servers/detail?limit=${SERVERS}`),
    show: () => admin.get('compute', `/servers/${some}`),
    token: () => admin.request('GET', 'identity', '/auth/tokens', undefined, { 'x-subject-token': admin.token }),
  };
  const counts = { list: 20, show: 400, token: 400 };
  const read = {};
  const sizes = {};
  for (const [name, call] of Object.entries(reads)) {
    sizes[name] = JSON.stringify(await call()).length;
    await timed(5, call);
    let times;
    const cpu = await cost(services, counts[name], async () => {
      times = await timed(counts[name], call);
    });
    read[name] = { cpuMs: round(cpu, 3), p50Ms: round(quantile(times, 0.5)), bytes: sizes[name] };
  }
  const memory = pssMib(services);

  say('at rest');
  const rest = 10;
  const restBefore = total(cpuSeconds(services));
  await new Promise((resolve) => setTimeout(resolve, rest * 1_000));
  const idle = ((total(cpuSeconds(services)) - restBefore) / rest) * 100;

  say('references');
  const append = await bareAppend(200);
  const raw = await rawHttp(sizes);
  const ratio = (name) => round(read[name].cpuMs / Math.max(raw[name].cpuMs, 0.001), 1);
  const perServer = batches.reduce((a, b) => a + b, 0) / batches.length;
  const p50 = quantile(alone, 0.5);
  return {
    load: { before: loadBefore, after: loadAverage() },
    references: { appendP50Ms: round(append), rawHttp: raw },
    server: {
      cpuMs: round(perServer),
      batches,
      parts,
      flat: round(batches.at(-1) / batches[0]),
      p50Ms: round(p50),
      appends: round(p50 / append, 1),
    },
    read: Object.fromEntries(Object.entries(read).map(([name, r]) => [name, { ...r, timesRawHttp: ratio(name) }])),
    memory: {
      pssMib: round(total(memory), 0),
      by: Object.fromEntries(Object.entries(memory).map(([k, v]) => [k, round(v, 0)])),
    },
    cpuSeconds: Object.fromEntries(Object.entries(cpuSeconds(services)).map(([k, v]) => [k, round(v)])),
    idlePercentOfACore: round(idle),
  };
};

/** Name, measured, bar. */
const bars = (r) => [
  ['POST to ACTIVE, CPU ms a server', r.server.cpuMs, 25],
  [`last batch of ${SERVERS} against the first`, r.server.flat, 1.3],
  ['POST to ACTIVE alone, p50 ms', r.server.p50Ms, 40],
  [`list detail of ${SERVERS}, CPU ms`, r.read.list.cpuMs, 60],
  ['show, CPU ms', r.read.show.cpuMs, 2],
  ['token validate, CPU ms', r.read.token.cpuMs, 0.5],
  ['all processes, PSS MiB', r.memory.pssMib, 700],
  ['idle, % of a core', r.idlePercentOfACore, 2],
];

let status = 0;
try {
  const result = await run();
  result.bars = bars(result).map(([name, measured, bar]) => ({ name, measured, bar, met: measured <= bar }));
  if (asJson) console.log(JSON.stringify(result, null, 2));
  else {
    console.log(`\nload average ${result.load.before} before, ${result.load.after} after`);
    console.log(
      `bare append p50 ${result.references.appendP50Ms} ms; POST to ACTIVE takes ${result.server.appends} of them`,
    );
    for (const [name, r] of Object.entries(result.read))
      console.log(
        `${name}: ${r.cpuMs} ms CPU, p50 ${r.p50Ms} ms, ${r.bytes} bytes; ${r.timesRawHttp} times raw node:http (${result.references.rawHttp[name].cpuMs} ms)`,
      );
    console.log(
      `CPU seconds of the run: ${Object.entries(result.cpuSeconds)
        .map(([k, v]) => `${k} ${v}`)
        .join(', ')}`,
    );
    console.log(
      `memory, PSS MiB: ${Object.entries(result.memory.by)
        .map(([k, v]) => `${k} ${v}`)
        .join(', ')}\n`,
    );
    for (const b of result.bars) console.log(`${b.met ? 'met   ' : 'MISSED'} ${b.name}: ${b.measured} (bar ${b.bar})`);
  }
} catch (error) {
  console.error(error.stack ?? error);
  status = 1;
}
const stopped = tool('stop.mjs');
if (stopped.status !== 0) {
  console.error(stopped.stderr);
  status = 1;
}
rmSync(home, { recursive: true, force: true });
process.exit(status);
