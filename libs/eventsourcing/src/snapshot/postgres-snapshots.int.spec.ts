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

const query = async (text: string) => {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query(text).finally(() => client.end());
};

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
  await query(damage);
  await expect(store.load()).rejects.toThrow(SnapshotDamaged);
});

it('snapshots that were neither saved nor loaded for a week go, the others stay', async () => {
  const [loaded, left, saved] = ['loaded', 'left', 'saved'].map((name) => snapshots.of(`week ${name}`, '1'));
  const snapshot = { position: 1, eventId: 'event-1' as EventId, parts: ['a'] };
  for (const store of [loaded!, left!]) await store.save(snapshot);
  await query(`update scheduler.snapshot set written_at = now() - interval '8 days' where name like 'week %'`);
  expect(await loaded!.load()).toEqual(snapshot);
  await saved!.save(snapshot);
  const found = await Promise.all([loaded!, left!, saved!].map((store) => store.load()));
  expect(found).toEqual([snapshot, undefined, snapshot]);
});

it('a snapshot that another replica is saving is loaded as it was, however old it is', async () => {
  const store = snapshots.of('held', '1');
  const snapshot = { position: 1, eventId: 'event-1' as EventId, parts: ['a'] };
  await store.save(snapshot);
  await query(`update scheduler.snapshot set written_at = now() - interval '8 days' where name = 'held'`);
  const replica = new pg.Client({ connectionString: url });
  await replica.connect();
  try {
    await replica.query(`begin; update scheduler.snapshot set position = 2 where name = 'held'`);
    expect(await store.load()).toEqual(snapshot);
  } finally {
    await replica.end();
  }
});
