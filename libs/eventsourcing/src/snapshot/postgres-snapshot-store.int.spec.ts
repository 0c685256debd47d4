import type { EventId } from '@omnivisor/contracts';
import pg from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { describeSnapshotStore } from '../testing/snapshot-store-suite.js';
import { startTestPostgres } from '../testing/test-postgres.js';
import { PostgresSnapshotStore } from './postgres-snapshot-store.js';
import { SnapshotDamaged } from './snapshot-store.js';

let server: Awaited<ReturnType<typeof startTestPostgres>>;
let url: string;
const stores: PostgresSnapshotStore[] = [];
const open = async (name: string, version: string) => {
  const store = new PostgresSnapshotStore({ url, schema: 'scheduler', name, version });
  stores.push(store);
  return store;
};
beforeAll(async () => {
  server = await startTestPostgres();
  url = await server.database();
}, 60_000);
afterAll(async () => {
  for (const store of stores) await store.close();
  await server?.stop();
});

describeSnapshotStore('PostgreSQL', async () => ({ store: open, close: async () => {} }));

it.each([
  ['a part is another one', `update scheduler.snapshot_part set content = content || ' ' where part = 1`],
  ['a part is missing', 'delete from scheduler.snapshot_part where part = 2'],
  ['two parts are swapped', `update scheduler.snapshot_part set content = (array['a', 'd', 'c', 'b'])[part + 1]`],
])('a snapshot is not given when %s', async (what, damage) => {
  const store = await open(what, '1');
  await store.save({ position: 3, eventId: 'event-3' as EventId, parts: ['a', 'b', 'c', 'd'] });
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query(damage);
  await client.end();
  await expect(store.load()).rejects.toThrow(SnapshotDamaged);
});
