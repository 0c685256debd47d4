import { fork } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ROOT } from '../start/options.mjs';
import { cpuMsEach, quantile, timed } from './measure.mjs';

/**
 * The bare append: one event of a server's size to a new stream each time, through the same store adapter, in a database
 * of its own beside the cloud's.
 * @returns {Promise<{ p50Ms: number }>}
 */
export const bareAppend = async (home, n) => {
  const { PostgresEventStore, migrate } = await import(`${ROOT}/libs/eventsourcing/dist/postgres/index.js`);
  const { RandomIds } = await import(`${ROOT}/libs/platform/dist/index.js`);
  const { default: pg } = await import('pg');
  const password = readFileSync(join(home, 'data/postgres/password'), 'utf8').trim();
  const port = readFileSync(join(home, 'data/postgres.port'), 'utf8').trim();
  const owner = `postgres://postgres:${encodeURIComponent(password)}@127.0.0.1:${port}`;
  const client = new pg.Client({ connectionString: `${owner}/postgres` });
  await client.connect();
  await client.query('create database bench');
  await client.end();
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
  return { p50Ms: quantile(times, 0.5) };
};

/**
 * node:http with answers of these sizes, and nothing else.
 * @param {Record<string, number>} sizes bytes by name
 */
export const rawHttp = async (sizes) => {
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
      await timed(100, call);
      let times;
      const cpuMs = await cpuMsEach(services, 1_000, async () => {
        times = await timed(1_000, call);
      });
      result[name] = { cpuMs, p50Ms: quantile(times, 0.5) };
    }
    return result;
  } finally {
    child.removeAllListeners('exit');
    child.kill();
  }
};
