import type { EventId } from '@omnivisor/contracts';
import pg from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { describeSnapshots } from '../testing/snapshots-suite.js';
import { startTestPostgres } from '../testing/test-postgres.js';
import { PostgresSnapshots } from './postgres-snapshots.js';
import { SnapshotDamaged } from './snapshot-store.js';

let server: Awaited<ReturnType<typeof startTestPostgres>>;
let url: string;
let snapshots: PostgresSnapshots;
beforeAll(async () => {
  server = await startTestPostgres();
  url = await server.database();
  snapshots = new PostgresSnapshots({ url, schema: 'scheduler' });
}, 60_000);
afterAll(async () => {
  await snapshots?.close();
  await server?.stop();
});

describeSnapshots('PostgreSQL', async () => snapshots);

it('snapshots of many folds may be saved and read at the same time', async () => {
  const stores = Array.from({ length: 8 }, (_, i) => snapshots.of(`at once ${i}`, '1'));
  await Promise.all(
    stores.map((store, i) => store.save({ position: i, eventId: `event-${i}` as EventId, parts: [`${i}`, 'b'] })),
  );
  const found = await Promise.all(stores.map((store) => store.load()));
  expect(found.map((snapshot) => snapshot?.parts)).toEqual(stores.map((_, i) => [`${i}`, 'b']));
});

it.each([
  ['a part is another one', `update scheduler.snapshot_part set content = content || ' ' where part = 1`],
  ['a part is missing', 'delete from scheduler.snapshot_part where part = 2'],
  ['two parts are swapped', `update scheduler.snapshot_part set content = (array['a', 'd', 'c', 'b'])[part + 1]`],
])('a snapshot is not given when %s', async (what, damage) => {
  const store = snapshots.of(what, '1');
  await store.save({ position: 3, eventId: 'event-3' as EventId, parts: ['a', 'b', 'c', 'd'] });
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query(damage);
  await client.end();
  await expect(store.load()).rejects.toThrow(SnapshotDamaged);
});
