import { RandomIds } from '@omnivisor/platform/ports';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EventStoreUnavailable } from '../event-store.js';
import { contextOf, describeEventStore, newEvent } from '../testing/event-store-suite.js';
import { startTestPostgres, type TestPostgres } from '../testing/test-postgres.js';
import { migrate } from './migrate.js';
import { PostgresEventStore } from './postgres-event-store.js';

const ids = new RandomIds();

describeEventStore('PostgreSQL', async () => {
  const server = await startTestPostgres();
  const url = await server.database();
  await migrate(url);
  return {
    open: async () => new PostgresEventStore({ url, ids }),
    contiguous: true,
    close: () => server.stop(),
  };
});

describe('PostgreSQL log', () => {
  let server: TestPostgres;

  beforeAll(async () => {
    server = await startTestPostgres(true);
  });
  afterAll(() => server?.stop());

  it('lets a service append to its own kinds of streams and change nothing', async () => {
    const owner = await server.database();
    const gateway = { service: 'api-gateway', role: 'role_gateway', password: "p'w", schema: 'gateway' };
    await migrate(owner, [gateway, { service: 'scheduler', role: 'role_scheduler', password: 'x' }]);
    await migrate(owner, [gateway]);
    const url = server.as(owner, gateway.role, gateway.password);
    const store = new PostgresEventStore({ url, ids });
    await store.append(`server-${ids.uuid()}`, -1, [newEvent('A')]);
    // Of a batch only the item that is not allowed fails.
    const mixed = await Promise.allSettled(
      [`server-${ids.uuid()}`, `provider-${ids.uuid()}`, `quota-${ids.uuid()}`, 'other'].map((stream) =>
        store.append(stream, -1, [newEvent('A')]),
      ),
    );
    expect(mixed.map((m) => m.status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'rejected']);
    expect(await store.head()).toBe(3);
    await store.close();

    const client = new pg.Client({ connectionString: url });
    await client.connect();
    for (const sql of ['update log.event set type = $$X$$', 'delete from log.event', 'truncate log.event'])
      await expect(client.query(sql)).rejects.toMatchObject({ code: '42501' });
    await expect(client.query('update log.head set position = 9')).rejects.toMatchObject({ code: '42501' });
    await client.end();
    const admin = new pg.Client({ connectionString: owner });
    await admin.connect();
    for (const sql of ['update log.event set type = $$X$$', 'delete from log.event', 'truncate log.event'])
      await expect(admin.query(sql)).rejects.toThrow('append-only');
    await admin.end();
  });

  it('loses nothing it acknowledged when PostgreSQL is killed, and goes on by itself', async () => {
    const url = await server.database();
    await migrate(url);
    const store = new PostgresEventStore({ url, ids, retryFor: 500 });
    const acknowledged = new Set<string>();
    let stop = false;
    let failed = 0;
    const writers = Array.from({ length: 8 }, async (_, n) => {
      const stream = `test-kill-${n}`;
      let revision = -1;
      while (!stop) {
        const context = contextOf();
        for (;;) {
          try {
            const result = await store.append(stream, revision, [newEvent('A', {}, context)]);
            revision = result.revision;
            acknowledged.add(result.events[0]!.id);
            break;
          } catch (error) {
            if (!(error instanceof EventStoreUnavailable)) throw error;
            failed++;
          }
        }
      }
    });
    const grown = async (by: number) => {
      const target = acknowledged.size + by;
      while (acknowledged.size < target) await new Promise((resolve) => setTimeout(resolve, 5));
    };
    for (let round = 0; round < 3; round++) {
      await grown(100);
      await server.kill();
      if (round === 1) {
        while (failed === 0) await new Promise((resolve) => setTimeout(resolve, 5));
        await expect(store.head()).rejects.toBeInstanceOf(EventStoreUnavailable);
      }
      await server.start();
      await grown(100);
    }
    stop = true;
    await Promise.all(writers);
    const stored = await store.readAll(0, 1_000_000);
    expect(new Set(stored.map((e) => e.id as string))).toEqual(acknowledged);
    expect(new Set(stored.map((e) => e.context.commandId)).size).toBe(stored.length);
    await store.close();
  });
});
