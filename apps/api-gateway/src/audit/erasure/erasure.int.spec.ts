import { type RecordedEvent, seconds } from '@omnivisor/contracts';
import { PostgresEventIndex } from '@omnivisor/eventsourcing/event-index';
import { migrate, PostgresEventStore, PostgresHistory, PostgresReadModel } from '@omnivisor/eventsourcing/postgres';
import { startTestPostgres, type TestPostgres } from '@omnivisor/eventsourcing/testing';
import { masterKeys, PostgresVault } from '@omnivisor/eventsourcing/vault';
import { RandomIds, SystemClock } from '@omnivisor/platform/ports';
import { MemoryBus } from '@omnivisor/platform/testing';
import pg from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { history } from '../../compute/server/lifecycle/server.fixtures.js';
import { gatewayProjections } from '../../projections.js';
import { INDEX_RULE } from '../index/index-entry.js';
import { replay } from '../replay.js';
import { AuditCloud } from '../testing/audit-cloud.js';
import { Erasure } from './erasure.js';

const PERSON = 'Jane-Doe-of-4711';
const { serverId } = history;

let server: TestPostgres;
let owner: string;
let cloud: AuditCloud;
let log: PostgresEventStore;
const closes: { close(): Promise<void> }[] = [];

beforeAll(async () => {
  server = await startTestPostgres();
  owner = await server.database();
  const role = { service: 'api-gateway', role: 'erasing_gateway', password: 'x', schema: 'gateway' };
  await migrate(owner, [role]);
  const place = { url: server.as(owner, role.role, role.password), schema: 'gateway' };
  const [clock, ids] = [new SystemClock(), new RandomIds()];
  log = new PostgresEventStore({ ...place, ids });
  const readModel = new PostgresReadModel(place);
  const past = new PostgresHistory(place);
  const eventIndex = new PostgresEventIndex({ ...place, rule: INDEX_RULE });
  const vault = new PostgresVault({ ...place, keys: masterKeys('01'.repeat(32)) });
  closes.push(log, readModel, past, eventIndex, vault);
  const tables = gatewayProjections.map((p) => p.table as never);
  for (const kept of [readModel, past]) await kept.prepare(tables);
  await eventIndex.prepare();
  await vault.prepare();
  const ports = { clock, ids, bus: new MemoryBus(clock), store: log, readModel, history: past, random: Math.random };
  cloud = await AuditCloud.start({ ports, vault, eventIndex: eventIndex as never });
}, 60_000);
afterAll(async () => {
  await cloud?.stop();
  for (const one of closes) await one.close();
  await server?.stop();
});

/** Tables of the database that a text stands in, in whatever column. */
const tablesWith = async (text: string): Promise<string[]> => {
  const client = new pg.Client({ connectionString: owner });
  await client.connect();
  try {
    const { rows: tables } = await client.query<{ name: string }>(
      `select format('%I.%I', schemaname, tablename) as name from pg_tables where schemaname not in ('pg_catalog', 'information_schema')`,
    );
    const found: string[] = [];
    for (const { name } of tables) {
      const { rows } = await client.query(`select 1 from ${name} t where t::text like $1 limit 1`, [`%${text}%`]);
      if (rows.length > 0) found.push(name.replace(/"?([a-z_.0-9]+)__.*/, '$1').replaceAll('"', ''));
    }
    return found.sort();
  } finally {
    await client.end();
  }
};

it(
  'leaves nothing personal anywhere in the database, and a log that stands as it did',
  async () => {
    const jane = await cloud.person(PERSON, 'member', `${PERSON}-project`);
    const request = { ...history.request, projectId: jane.projectId, userId: jane.userId, description: `of ${PERSON}` };
    await cloud.serverEvents(
      serverId,
      [{ type: 'ServerCreateRequested', data: request as never }],
      cloud.context(jane),
    );
    const admin = await cloud.admin();
    const stood = await log.readStored(0, 10_000);
    await cloud.core.lookingBack(`${stood.at(-1)!.position}`, () => cloud.core.fresh());
    // In rows, and versions of rows, that are queried by name; never in the log.
    const told = await tablesWith(PERSON);
    expect(told.filter((name) => name.startsWith('log.'))).toEqual([]);
    expect(new Set(told.map((name) => name.replace(/.*\.(\w+?)_v\d.*/, '$1')))).toEqual(
      new Set(['projects', 'servers', 'users']),
    );

    for (const path of [`users/${jane.userId}`, `projects/${jane.projectId}`])
      expect((await cloud.call(`/identity/v3/${path}`, admin, { method: 'DELETE' })).status).toBe(204);
    const erasure = new Erasure(cloud.core, log, cloud.service.gateway.personalKeys);
    for (const subject of [
      { kind: 'user' as const, id: jane.userId },
      { kind: 'project' as const, id: jane.projectId },
    ])
      expect((await erasure.erase(subject, 'asked to', 'operator')).rows).toBeGreaterThan(0);

    expect(await tablesWith(PERSON)).toEqual([]);
    const read: RecordedEvent[] = await cloud.core.store.readAll(0, 10_000);
    expect(JSON.stringify(read)).not.toContain(PERSON);
    const report = await replay(cloud.core.store, cloud.core.readModel, gatewayProjections);
    expect(report.differences).toEqual([]);
    expect((await log.readStored(0, 10_000)).slice(0, stood.length)).toEqual(stood);
  },
  seconds(60),
);
