#!/usr/bin/env node
/**
 * npm run bench:log [-- --json] [--events N]: what the log itself can do, on a PostgreSQL of its own that waits for its
 * disk. Appends of 32 writers with and without the sealer, in turns in one run; then `audit verify` over all of it.
 */
import { randomUUID } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { argumentsOf, whole } from '../arguments.mjs';
import { postgresBinaries, startPostgres } from '../services/postgres.mjs';
import { built, ROOT } from '../start/options.mjs';
import { concurrently, loadAverage, quantile } from './measure.mjs';

const { json: asJson, events: EVENTS } = argumentsOf(import.meta.url, {
  options: { json: { type: 'boolean' }, events: { type: 'string', default: '60000', read: whole(1) } },
}).values;
const { migrate, PostgresEventStore } = await built('libs/eventsourcing/dist/postgres/index.js');
const seal = await built('libs/eventsourcing/dist/seal/index.js');
const { newSeed, PostgresSealStore, Sealer, signerOf, verifyLog } = seal;
const { RandomIds, SystemClock } = await built('libs/platform/dist/index.js');
const WRITERS = 32;
/** Many short ones, each after the other: what else the machine does is then in both. */
const PAIRS = 15;
const round = (n, digits = 2) => Number(n.toFixed(digits));

const dir = mkdtempSync(join(tmpdir(), 'omnivisor-bench-'));
chmodSync(dir, 0o755);
const user = process.getuid?.() === 0 ? { user: { uid: 65_534, gid: 65_534 } } : {};
const postgres = await startPostgres({
  dir: join(dir, 'pg'),
  binaries: postgresBinaries(ROOT),
  durable: true,
  ...user,
});
const url = postgres.url;
const ids = new RandomIds();
const clock = new SystemClock();
const signer = signerOf('bench/log', newSeed());

const event = (id) => ({
  type: 'ServerLocked',
  schemaVersion: 1,
  data: { reason: 'x'.repeat(600) },
  context: {
    actor: { kind: 'service', service: 'bench' },
    requestId: `req-${id}`,
    correlationId: `req-${id}`,
    causationId: null,
    commandId: id,
  },
});

/** Events a second, and milliseconds of CPU of this process for each. */
const appending = async (store, events) => {
  const cpu = process.cpuUsage();
  const from = performance.now();
  await concurrently(events, WRITERS, () => {
    const id = randomUUID();
    return store.append(`server-${id}`, -1, [event(id)]);
  });
  const { user: own, system } = process.cpuUsage(cpu);
  return { rate: events / ((performance.now() - from) / 1_000), cpu: (own + system) / 1_000 / events };
};

try {
  await migrate(url);
  const store = new PostgresEventStore({ url, ids });
  const seals = new PostgresSealStore(url);
  const newSealer = () =>
    new Sealer({
      store,
      seals,
      origin: 'bench/log',
      signers: async () => [signer],
      clock,
      sealed: () => {},
      onError: (error) => {
        throw error;
      },
    });
  const caughtUp = async () => {
    const sealer = newSealer();
    sealer.start();
    await sealer.stop();
  };
  const started = loadAverage();
  const rounds = { without: [], with: [] };
  const share = Math.ceil(EVENTS / (2 * PAIRS));
  await appending(store, share);
  for (let i = 0; i < 2 * PAIRS; i += 1) {
    const sealed = (i + Math.floor(i / 2)) % 2 === 1;
    // What the rounds before left unsealed is none of this one's.
    await caughtUp();
    const sealer = newSealer();
    const stop = store.subscribe((position) => sealed && sealer.wake(position));
    sealer.start();
    rounds[sealed ? 'with' : 'without'].push(await appending(store, share));
    stop();
    await sealer.stop();
  }
  await caughtUp();
  const from = performance.now();
  const cpu = process.cpuUsage();
  const report = await verifyLog({ store, seals, keys: [signer.verifier] });
  const verify = {
    events: report.events,
    ok: report.ok,
    seconds: (performance.now() - from) / 1_000,
    cpuSeconds: process.cpuUsage(cpu).user / 1e6,
  };
  const median = (list, of) => quantile(list.map(of), 0.5);
  const result = {
    load: [started, loadAverage()],
    appendsPerSecond: {
      without: round(
        median(rounds.without, (r) => r.rate),
        0,
      ),
      with: round(
        median(rounds.with, (r) => r.rate),
        0,
      ),
    },
    rateWithSealer: round(
      median(
        rounds.with.map((r, i) => r.rate / rounds.without[i].rate),
        (ratio) => ratio,
      ),
      3,
    ),
    cpuMsPerEvent: {
      without: round(
        median(rounds.without, (r) => r.cpu),
        3,
      ),
      with: round(
        median(rounds.with, (r) => r.cpu),
        3,
      ),
    },
    verify: {
      ok: verify.ok,
      events: verify.events,
      eventsPerSecond: round(verify.events / verify.seconds, 0),
      cpuSeconds: round(verify.cpuSeconds),
    },
  };
  console.log(asJson ? JSON.stringify(result) : JSON.stringify(result, null, 2));
  await store.close();
  await seals.close();
} finally {
  await postgres.stop();
  rmSync(dir, { recursive: true, force: true });
}
