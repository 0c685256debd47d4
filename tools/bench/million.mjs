#!/usr/bin/env node
/**
 * npm run bench:million [-- --json] [--events N] [--home DIR] [--only PART]: what a log of a million events costs. Lives of
 * servers are lived in a real cloud, then written again under other names until the log is long enough; measured are the
 * rebuild of all read models from the first event, the first answers after a start, and `audit verify`. A cloud in a folder
 * that is named stays there, and the next run goes on with it; `--only` rebuild, start or verify measures one part.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { argumentsOf, oneOf, whole } from '../arguments.mjs';
import { postgresBinaries, startPostgres } from '../services/postgres.mjs';
import { freePort } from '../services/process.mjs';
import { adminClient } from '../start/client.mjs';
import { ROOT } from '../start/options.mjs';
import { readState } from '../start/state.mjs';
import { knownUser } from '../start/system.mjs';
import { atRest, startBenchCloud } from './bench-cloud.mjs';
import { concurrently, cpuSeconds, loadAverage, pssMib, total } from './measure.mjs';

const ALL_PARTS = ['rebuild', 'start', 'verify'];
const { values: options } = argumentsOf(import.meta.url, {
  options: {
    json: { type: 'boolean' },
    events: { type: 'string', default: '1000000', read: whole(1) },
    home: { type: 'string', read: resolve },
    only: { type: 'string', read: oneOf(...ALL_PARTS) },
  },
});
const { json: asJson, events: EVENTS, home: kept } = options;
const LIVES = 40;
const BATCH = 2_000;
const say = (line) => console.error(line);
const round = (n, digits = 1) => Number(n.toFixed(digits));
const seconds = async (work) => {
  const from = performance.now();
  await work();
  return (performance.now() - from) / 1_000;
};

const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g;

/** Servers that are created, stopped, started, rebooted and deleted. */
const live = async ({ admin, create }, lives, name) => {
  await concurrently(lives, 8, async (i) => {
    const id = await create(`${name}-${i}`);
    const until = (status) =>
      admin.until(`server ${id} to be ${status}`, 60_000, async () => {
        const { server } = await admin.get('compute', `/servers/${id}`);
        return server.status === status && server['OS-EXT-STS:task_state'] === null;
      });
    await until('ACTIVE');
    const act = async (action, status) => {
      await admin.post('compute', `/servers/${id}/action`, action);
      await until(status);
    };
    await act({ 'os-stop': null }, 'SHUTOFF');
    await act({ 'os-start': null }, 'ACTIVE');
    await act({ reboot: { type: 'HARD' } }, 'ACTIVE');
    await admin.request('DELETE', 'compute', `/servers/${id}`);
    await admin.until(`server ${id} to be gone`, 60_000, async () => {
      const { servers } = await admin.get('compute', `/servers?name=${name}-${i}$`);
      return servers.length === 0;
    });
  });
  await atRest(admin);
};

/** Writes what is after `from` again and again, each time about other servers, ports, requests and events. */
const multiply = async (client, from, wanted) => {
  const columns = 'position, stream, revision, id, type, command_id, size, payload, meta, recorded_at';
  const { rows: before } = await client.query('select stream, id, payload, meta from log.event where position <= $1', [
    from,
  ]);
  const old = new Set(before.flatMap((e) => `${e.stream} ${e.id} ${e.payload} ${e.meta}`.match(UUID) ?? []));
  const { rows: life } = await client.query(`select ${columns} from log.event where position > $1 order by position`, [
    from,
  ]);
  const lengths = new Map();
  for (const { stream } of life) lengths.set(stream, (lengths.get(stream) ?? 0) + 1);
  let position = Number(life.at(-1).position);
  let rows = [];
  const flush = async () => {
    const list = (name) => rows.map((row) => row[name]);
    await client.query(
      `insert into log.event (${columns}) select * from unnest($1::bigint[], $2::text[], $3::bigint[], $4::uuid[], $5::text[],
         $6::text[], $7::integer[], $8::text[], $9::text[], $10::timestamptz[])`,
      columns.split(', ').map(list),
    );
    rows = [];
  };
  for (let copy = 1; position < wanted; copy++) {
    const renamed = (text) =>
      text?.replace(UUID, (id) =>
        old.has(id)
          ? id
          : id.slice(0, 28) + ((Number.parseInt(id.slice(28), 16) ^ copy) >>> 0).toString(16).padStart(8, '0'),
      );
    for (const event of life) {
      const stream = renamed(event.stream);
      position += 1;
      rows.push({
        ...event,
        position,
        stream,
        revision: Number(event.revision) + (stream === event.stream ? copy * lengths.get(stream) : 0),
        id: renamed(event.id),
        command_id: renamed(event.command_id),
        payload: renamed(event.payload),
        meta: renamed(event.meta),
        recorded_at: life.at(-1).recorded_at,
      });
      if (rows.length >= BATCH) await flush();
    }
  }
  if (rows.length > 0) await flush();
  await client.query('update log.head set position = $1', [position]);
  await client.query('vacuum analyze log.event');
  return position;
};

/** What `work` costs for each event of the log: seconds by the clock, and CPU of this process and of PostgreSQL. */
const cost = async (name, postgres, events, work) => {
  const database = () => total(cpuSeconds([{ name, pid: postgres.pid }]));
  const own = process.cpuUsage();
  const before = database();
  const took = await seconds(work);
  const { user, system } = process.cpuUsage(own);
  const cost = {
    eventsPerSecond: round(events / took, 0),
    cpuUsEach: { own: round((user + system) / events), postgres: round(((database() - before) * 1e6) / events) },
    load: loadAverage(),
  };
  say(`  ${name}: ${round(took)} s, ${JSON.stringify(cost)}`);
  return cost;
};

/** Every read model of every service from the first event on, in schemas of its own; beside it, what reading alone costs. */
const rebuild = async (url, events, postgres) => {
  const dist = (path) => import(join(ROOT, path));
  const { PostgresEventStore, PostgresReadModel } = await dist('libs/eventsourcing/dist/postgres/index.js');
  const { Projector } = await dist('libs/eventsourcing/dist/index.js');
  const { RandomIds } = await dist('libs/platform/dist/index.js');
  const { gatewayProjections } = await dist('apps/api-gateway/dist/projections.js');
  const { imageProjections } = await dist('apps/image-service/dist/image/image.projection.js');
  const store = new PostgresEventStore({ url, ids: new RandomIds() });
  const costs = {};
  costs['reading alone'] = await cost('reading alone', postgres, events, async () => {
    for (let at = 0; at < events; at = (await store.readAll(at, 2_000)).at(-1)?.position ?? events);
  });
  for (const [name, projections] of [
    ['api-gateway', gatewayProjections],
    ['image-service', imageProjections],
  ]) {
    const schema = `rebuild_${name.replace('-', '_')}`;
    await connected((client) => client.query(`drop schema if exists ${schema} cascade`));
    const readModel = new PostgresReadModel({ url, schema });
    await readModel.prepare(projections.map((p) => p.table));
    costs[name] = await cost(name, postgres, events, () => new Projector(store, readModel, projections).catchUp());
    await readModel.close();
    await connected((client) => client.query(`drop schema ${schema} cascade`));
  }
  await store.close();
  return costs;
};

const tool = (home, name, ...args) => {
  const file = fileURLToPath(new URL(`../start/${name}`, import.meta.url));
  const env = { ...process.env, OMNIVISOR_HOME: home, OMNIVISOR_FAKE_VCPUS: '4096', OMNIVISOR_LOG_LEVEL: 'warn' };
  const done = spawnSync(process.execPath, [file, ...args], { env, encoding: 'utf8', maxBuffer: 1e8 });
  if (done.status !== 0) throw new Error(`${name} ${args.join(' ')}: ${done.stdout}${done.stderr}`);
  return done.stdout;
};

const resumed = kept && existsSync(join(kept, 'written'));
if (kept) {
  mkdirSync(kept, { recursive: true });
  chmodSync(kept, 0o755);
}
const cloud = resumed ? undefined : await startBenchCloud('fake', kept);
const home = cloud?.home ?? kept;
const address = () => {
  const password = readFileSync(join(home, 'data/postgres/password'), 'utf8').trim();
  const port = readFileSync(join(home, 'data/postgres.port'), 'utf8').trim();
  return `postgres://postgres:${encodeURIComponent(password)}@127.0.0.1:${port}/omnivisor`;
};
const connected = async (work) => {
  const { default: pg } = await import('pg');
  const client = new pg.Client({ connectionString: address() });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
};
/** On a port of its own each time: connections to the one before are no use. */
const start = async () => {
  const port = await freePort();
  tool(home, 'start.mjs', '--detach', '--agents', '0', '--fake-hosts', '1', '--skip-image', '--port', `${port}`);
};
/** Resolves when a server can be had. */
const firstServer = async () => {
  const admin = await adminClient(home);
  const [flavor] = (await admin.get('compute', '/flavors')).flavors;
  const [image] = (await admin.get('image', '/images')).images;
  const server = { name: 'first', flavorRef: flavor.id, imageRef: image.id, networks: 'none' };
  const { id } = (await admin.post('compute', '/servers', { server }, { 'openstack-api-version': 'compute 2.37' }))
    .server;
  const isActive = async () => (await admin.get('compute', `/servers/${id}`)).server.status === 'ACTIVE';
  await admin.until('a first server', 120_000, isActive, 20);
};
const position = (text) => connected(async (c) => Number((await c.query(text)).rows[0].at));
const head = () => position('select position as at from log.head');
const sealed = () => position('select coalesce(max(position), 0) as at from log.checkpoint');

const write = async () => {
  say('lives of servers in a cloud with one fake host');
  // What is done once, for the first server, is none of a life.
  await live(cloud, 2, 'first');
  const from = await head();
  await live(cloud, LIVES, 'life');
  tool(home, 'stop.mjs');
  await withPostgres(async () => {
    say(`writing ${EVENTS} events`);
    const written = await seconds(() => connected((client) => multiply(client, from, EVENTS)));
    say(`  ${await head()} events in ${round(written)} s`);
  });
  writeFileSync(join(home, 'written'), '');
};

/** PostgreSQL alone, as long as `work` takes. */
const withPostgres = async (work) => {
  const binaries = postgresBinaries(ROOT);
  const user = process.getuid?.() === 0 ? { user: knownUser() } : {};
  const port = Number(readFileSync(join(home, 'data/postgres.port'), 'utf8'));
  const postgres = await startPostgres({ dir: join(home, 'data/postgres'), binaries, port, ...user });
  try {
    return await work(postgres);
  } finally {
    await postgres.stop();
  }
};

const PARTS = {
  async rebuild() {
    say('rebuild of all read models');
    return { rebuild: await withPostgres(async (postgres) => rebuild(address(), await head(), postgres)) };
  },
  async start() {
    say('a start that has to catch up with what is not read yet');
    const behind = await seconds(() => start());
    // No process has met the long streams: they were written without one. From now on their state is kept.
    const unkept = await seconds(firstServer);
    tool(home, 'stop.mjs');
    say('a start after that');
    const again = await seconds(() => start());
    const services = readState(home).services.filter((s) => s.pid !== null);
    const before = cpuSeconds(services);
    const first = await seconds(firstServer);
    const after = cpuSeconds(services);
    const spent = Object.fromEntries(Object.entries(after).map(([name, s]) => [name, round(s - before[name], 2)]));
    const second = await seconds(firstServer);
    const result = {
      startBehindSeconds: round(behind),
      startSeconds: round(again),
      firstServerUnkeptSeconds: round(unkept, 2),
      firstServerSeconds: round(first, 2),
      firstServerCpuSeconds: spent,
      secondServerSeconds: round(second, 2),
      memoryMib: Object.fromEntries(Object.entries(pssMib(services)).map(([name, mib]) => [name, round(mib, 0)])),
      cpuSeconds: cpuSeconds(services),
    };
    tool(home, 'stop.mjs');
    return result;
  },
  async verify() {
    await start();
    say('all of it is sealed');
    const events = await head();
    const sealing = await seconds(async () => {
      while ((await sealed()) < events) await setTimeout(1_000);
    });
    say(`  after ${round(sealing)} s, load ${loadAverage()}`);
    say('verify');
    const before = cpuSeconds([{ name: 'own', pid: process.pid }]).own;
    const verify = await seconds(async () => say(tool(home, 'omnivisor.mjs', 'audit', 'verify')));
    const cpu = cpuSeconds([{ name: 'own', pid: process.pid }]).own - before;
    tool(home, 'stop.mjs');
    return { sealingSeconds: round(sealing), verifySeconds: round(verify), verifyCpuSeconds: round(cpu) };
  },
};

try {
  if (!resumed) await write();
  const result = {};
  for (const name of options.only ? [options.only] : ALL_PARTS) {
    const load = loadAverage();
    Object.assign(result, await PARTS[name](), { [`${name}Load`]: [load, loadAverage()] });
    say(JSON.stringify(result));
  }
  console.log(asJson ? JSON.stringify(result) : JSON.stringify(result, null, 2));
} finally {
  if (!kept) cloud.stop();
  else tool(home, 'stop.mjs');
}
