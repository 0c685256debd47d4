#!/usr/bin/env node
/**
 * npm run bench [-- --json] [--servers N]: what the control plane costs, on one fake host, with references of the same
 * run: raw node:http for reads, the bare append of the store for writes. CPU is that of all processes, PostgreSQL, NATS
 * and the host's agent included, read from /proc; on a busy machine trust CPU and ratios, not times. Then what placement
 * decisions cost, in a process of their own.
 */
import { spawnSync } from 'node:child_process';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { argumentsOf, whole } from '../arguments.mjs';
import { alone, atRest, startBenchCloud } from './bench-cloud.mjs';
import { concurrently, cpuMsEach, cpuSeconds, loadAverage, pssMib, quantile, timed, total } from './measure.mjs';
import { bareAppend, rawHttp } from './references.mjs';

const { json: asJson, servers: SERVERS } = argumentsOf(import.meta.url, {
  options: { json: { type: 'boolean' }, servers: { type: 'string', default: '1000', read: whole(1) } },
}).values;
const BATCHES = 5;
const BATCH = Math.max(1, Math.floor(SERVERS / BATCHES));
/** Servers made first: a service that has just started compiles its code while it works. */
const WARM_UP = 200;
const ALONE = 40;
/** Seconds of one look at a cloud that rests (a whole round of an agent), and how many of them there are. */
const REST = 30;
const LOOKS = 9;
/** Looks that still have what the work before left to be tidied up: memory is given back, and PostgreSQL vacuums. */
const TIDYING = 4;
const say = (line) => (asJson ? console.error(line) : console.log(line));
const round = (n, digits = 2) => Number(n.toFixed(digits));
const rounded = (record, digits) => Object.fromEntries(Object.entries(record).map(([k, v]) => [k, round(v, digits)]));
const listed = (record) =>
  Object.entries(record)
    .map(([k, v]) => `${k} ${v}`)
    .join(', ');

/** CPU of servers made in batches on one host, and of which service. */
const filling = async ({ admin, services, create }) => {
  const batches = [];
  for (let done = 0; done < BATCH * BATCHES; done += BATCH) {
    const before = cpuSeconds(services);
    const from = performance.now();
    await concurrently(BATCH, 16, (i) => create(`s-${done + i}`));
    await atRest(admin);
    const after = cpuSeconds(services);
    const parts = Object.fromEntries(
      services.map(({ name }) => [name, ((after[name] - before[name]) * 1_000) / BATCH]),
    );
    batches.push({ cpuMs: round(total(parts)), parts: rounded(parts) });
    const seconds = round((performance.now() - from) / 1_000, 1);
    say(
      `  ${done + BATCH} servers: ${batches.at(-1).cpuMs} ms CPU each, ${seconds} s; ${listed(batches.at(-1).parts)}`,
    );
  }
  return batches;
};

const reading = async ({ admin, services }) => {
  const some = (await admin.get('compute', '/servers?limit=1')).servers[0].id;
  const calls = {
    list: [20, () => admin.get('compute', `/servers/detail?limit=${SERVERS}`)],
    show: [1_000, () => admin.get('compute', `/servers/${some}`)],
    token: [
      1_000,
      () => admin.request('GET', 'identity', '/auth/tokens', undefined, { 'x-subject-token': admin.token }),
    ],
  };
  const read = {};
  for (const [name, [count, call]] of Object.entries(calls)) {
    const answer = await call();
    if (name === 'list' && answer.servers.length !== SERVERS)
      throw new Error(`the list has ${answer.servers.length} servers, not ${SERVERS}`);
    await timed(count, call);
    let times;
    const cpuMs = await cpuMsEach(services, count, async () => {
      times = await timed(count, call);
    });
    read[name] = { cpuMs, p50Ms: quantile(times, 0.5), bytes: JSON.stringify(answer).length };
  }
  return read;
};

/** Percent of a core of a cloud that has nothing to do, look by look. */
const resting = async (services) => {
  const looks = [];
  for (let i = 0; i < LOOKS; i += 1) {
    const before = cpuSeconds(services);
    await setTimeout(REST * 1_000);
    const after = cpuSeconds(services);
    const by = services.map(({ name }) => [name, round(((after[name] - before[name]) / REST) * 100)]);
    looks.push({ percent: round(by.reduce((sum, [, percent]) => sum + percent, 0)), by: Object.fromEntries(by) });
    say(`  ${looks.at(-1).percent} % of a core; ${listed(looks.at(-1).by)}`);
  }
  return looks;
};

const placing = () => {
  const script = fileURLToPath(new URL('./scheduler.mjs', import.meta.url));
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--max-old-space-size=4096', script], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`the scheduler's bench failed:\n${stderr}`);
  return JSON.parse(stdout);
};

const run = async (cloud) => {
  const { admin, services, home, create } = cloud;
  const before = loadAverage();
  say('one server at a time');
  await concurrently(WARM_UP, 4, (i) => create(`warm-${i}`));
  await atRest(admin);
  const first = await alone(cloud, ALONE, 'alone');
  say(`${SERVERS} servers more on the same host, in batches of ${BATCH}`);
  const batches = await filling(cloud);
  say('one server at a time, beside those');
  const last = await alone(cloud, ALONE, 'late');
  const { servers: failed } = await admin.get('compute', `/servers?limit=${SERVERS}&status=ERROR`);
  if (failed.length > 0) throw new Error(`${failed.length} servers are in ERROR`);
  say('reads');
  const read = await reading(cloud);
  const memory = pssMib(services);
  say('at rest');
  const looks = await resting(services);
  const memoryAtRest = pssMib(services);
  say('references');
  const append = await bareAppend(home, 200);
  const raw = await rawHttp(Object.fromEntries(Object.entries(read).map(([name, r]) => [name, r.bytes])));
  const p50 = quantile(first, 0.5);
  return {
    load: { before, after: loadAverage() },
    references: {
      appendP50Ms: round(append.p50Ms),
      rawHttp: Object.fromEntries(Object.entries(raw).map(([name, r]) => [name, rounded(r, 3)])),
    },
    server: {
      cpuMs: round(batches.reduce((sum, b) => sum + b.cpuMs, 0) / BATCHES),
      batches,
      flat: round(batches.at(-1).cpuMs / batches[0].cpuMs),
      alone: { p50Ms: round(p50), leastMs: round(Math.min(...first)), appends: round(p50 / append.p50Ms, 1) },
      lateP50Ms: round(quantile(last, 0.5)),
    },
    read: Object.fromEntries(
      Object.entries(read).map(([name, r]) => [
        name,
        { ...rounded(r, 3), timesRawHttp: round(r.cpuMs / Math.max(raw[name].cpuMs, 0.001), 1) },
      ]),
    ),
    memory: {
      pssMib: round(total(memory), 0),
      by: rounded(memory, 0),
      atRestMib: round(total(memoryAtRest), 0),
    },
    cpuSeconds: rounded(cpuSeconds(services)),
    idlePercentOfACore: quantile(
      looks.slice(TIDYING).map(({ percent }) => percent),
      0.5,
    ),
    idleLooks: looks,
  };
};

/** Name, measured, bar. */
const bars = (r) => [
  ['POST to ACTIVE, CPU ms a server', r.server.cpuMs, 25],
  [`CPU of the last ${BATCH} servers of a host against that of the first`, r.server.flat, 1.3],
  ['POST to ACTIVE alone, p50 ms', r.server.alone.p50Ms, 40],
  [`POST to ACTIVE alone beside ${SERVERS} servers, p50 ms`, r.server.lateP50Ms, 40],
  [`list detail of ${SERVERS}, CPU ms`, r.read.list.cpuMs, 60],
  ['show, CPU ms', r.read.show.cpuMs, 2],
  ['token validate, CPU ms', r.read.token.cpuMs, 0.5],
  ['all processes, PSS MiB', r.memory.pssMib, 700],
  ['idle, % of a core', r.idlePercentOfACore, 2],
  ...r.placement.decisions.map((d) => [`placement decision among ${d.hosts} hosts, p50 µs`, d.p50Us, 50]),
  ...r.placement.candidates.map((c) => [`allocation candidates, ${c.shape}, CPU ms`, c.cpuMs, c.barMs]),
];

const print = (r) => {
  console.log(`\nload average ${r.load.before} before, ${r.load.after} after`);
  const { alone: one } = r.server;
  console.log(
    `bare append p50 ${r.references.appendP50Ms} ms; POST to ACTIVE alone takes ${one.appends} of them, the quickest ${one.leastMs} ms`,
  );
  for (const [name, read] of Object.entries(r.read))
    console.log(
      `${name}: ${read.cpuMs} ms CPU, p50 ${read.p50Ms} ms, ${read.bytes} bytes; ${read.timesRawHttp} times raw node:http (${r.references.rawHttp[name].cpuMs} ms)`,
    );
  console.log(`CPU seconds of the run: ${listed(r.cpuSeconds)}`);
  console.log(`memory, PSS MiB: ${listed(r.memory.by)}`);
  for (const d of r.placement.decisions)
    console.log(
      `placement among ${d.hosts} hosts: p50 ${d.p50Us} µs, p99 ${d.p99Us} µs, ${d.cpuWithClaimUs} µs CPU with its claim and a release`,
    );
  console.log('');
  for (const b of r.bars) console.log(`${b.met ? 'met   ' : 'MISSED'} ${b.name}: ${b.measured} (bar ${b.bar})`);
};

let status = 0;
let cloud;
try {
  say('starting a cloud with one fake host');
  cloud = await startBenchCloud();
  const result = await run(cloud);
  say('placement');
  result.placement = placing();
  result.bars = bars(result).map(([name, measured, bar]) => ({ name, measured, bar, met: measured <= bar }));
  if (asJson) console.log(JSON.stringify(result, null, 2));
  else print(result);
} catch (error) {
  console.error(error.stack ?? error);
  status = 1;
}
const trouble = cloud?.stop();
if (trouble) {
  console.error(trouble);
  status = 1;
}
process.exit(status);
