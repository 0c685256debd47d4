import { RandomIds } from '@omnivisor/platform/ports';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MemoryReadModel } from '../memory/index.js';
import { type Projection, Projector } from '../projection.js';
import { dueTable, type ReadModel, type Table, table } from '../read-model.js';
import { newEvent } from '../testing/event-store-suite.js';
import { startTestPostgres, type TestPostgres } from '../testing/test-postgres.js';
import { migrate } from './migrate.js';
import { PostgresEventStore } from './postgres-event-store.js';
import { PostgresReadModel } from './postgres-read-model.js';

interface Ledger {
  readonly sum: number;
  readonly last: string;
  readonly history: readonly number[];
}

const ledgers = table<Ledger>('ledgers_v1', ['sum'], ['last', 'sum']);
const byText = table<{ count: number; text: string }>('by_text_v1', ['text']);
type Data = { amount: number; text: string };

/** Grows with each event and is gone when its sum is a multiple of seven: rows come, change, go and come again. */
const ledger: Projection<Ledger> = {
  table: ledgers,
  keys: (event) => [event.stream],
  evolve: (row, event) => {
    const { amount, text } = event.data as Data;
    const sum = (row?.sum ?? 0) + amount;
    return sum % 7 === 0 ? undefined : { sum, last: text, history: [...(row?.history ?? []), amount].slice(-5) };
  },
  derive: (id, row) => {
    const due =
      row && row.sum % 2 === 0 ? { process: 'even', id, dueAt: new Date(row.sum * 1_000).toISOString() } : undefined;
    return [{ table: dueTable as Table<never>, key: `even/${id}`, row: due }];
  },
};
const texts: Projection<{ count: number; text: string }> = {
  table: byText,
  keys: (event) => [(event.data as Data).text],
  evolve: (row, event) => ({ count: (row?.count ?? 0) + 1, text: (event.data as Data).text }),
};
const projections = [ledger, texts] as unknown as Projection[];
const tables = [ledgers, byText, dueTable] as Table<never>[];

const streams = ['test-a', 'test-b', 'test-c'];

const dumpOf = async (model: ReadModel) => {
  const all: unknown[] = [];
  for (const each of tables) for await (const row of model.dump(each)) all.push([each.name, row]);
  return all;
};

let server: TestPostgres;
beforeAll(async () => {
  server = await startTestPostgres();
});
afterAll(() => server?.stop());

describe('projector on PostgreSQL', () => {
  it('gives the rows that a replay in memory gives, whatever happens and however many replicas project', async () => {
    const url = await server.database();
    await migrate(url);
    const store = new PostgresEventStore({ url, ids: new RandomIds() });
    const models = [0, 1].map(() => new PostgresReadModel({ url, schema: 'app' }));
    for (const model of models) await model.prepare(tables);
    const replicas = models.map((model, n) => new Projector(store, model, projections, { batch: 3 + n }));
    const revisions = new Map<string, number>();
    const event = fc.record({
      stream: fc.constantFrom(...streams),
      amount: fc.integer({ min: -20, max: 20 }),
      text: fc.oneof(
        fc.constantFrom('', 'x', '\u0000', '\u0001', '\ufffe', '😀'),
        fc.string({ unit: 'binary', maxLength: 3 }),
      ),
      project: fc.constantFrom(-1, 0, 1, 2),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(event, { minLength: 1, maxLength: 15 }), async (events) => {
        for (const { stream, amount, text, project } of events) {
          const revision = revisions.get(stream) ?? -1;
          const result = await store.append(stream, revision, [newEvent('ServerDeleted', { amount, text })]);
          revisions.set(stream, result.revision);
          if (project === 2) await Promise.all(replicas.map((r) => r.catchUp()));
          else if (project >= 0) {
            await replicas[project]!.catchUp(result.position);
            // Whoever read it here knows it, and has to learn that the other one changed it.
            const row = await models[project]!.get(ledgers, stream);
            expect(row?.history.at(-1) ?? null).toBe(row ? amount : null);
          }
        }
        await Promise.all(replicas.map((r) => r.catchUp()));
        const twin = new MemoryReadModel();
        await new Projector(store, twin, projections).catchUp();
        const expected = await dumpOf(twin);
        for (const model of models) {
          expect(await dumpOf(model)).toEqual(expected);
          expect(await model.getMany(ledgers, streams)).toEqual(await twin.getMany(ledgers, streams));
        }
      }),
      { numRuns: 40 },
    );
    await Promise.all([store.close(), ...models.map((m) => m.close())]);
  });

  it('lets a replica that remembers a row learn that another one changed it beside what events do', async () => {
    const url = await server.database();
    await migrate(url);
    const store = new PostgresEventStore({ url, ids: new RandomIds() });
    const models = [0, 1].map(() => new PostgresReadModel({ url, schema: 'app' }));
    for (const model of models) await model.prepare(tables);
    const [one, two] = models.map((model) => new Projector(store, model, projections)) as [Projector, Projector];
    const append = async (stream: string) => {
      const revision = (await store.readStream(stream)).length - 1;
      return (await store.append(stream, revision, [newEvent('ServerDeleted', { amount: 1, text: 'told' })])).position;
    };
    for (let n = 0; n < 3; n++) await one.catchUp(await append('test-a'));
    const row = { sum: 3, last: 'erased', history: [] };
    const amended = [{ table: ledgers as Table<never>, key: 'test-a', row }];
    expect(
      await two.amend(
        async () => amended,
        () => append('test-b'),
      ),
    ).toBe(1);
    await one.catchUp(await append('test-a'));
    expect(await models[0]!.get(ledgers, 'test-a')).toEqual({ sum: 4, last: 'told', history: [1] });
    expect(await models[1]!.get(ledgers, 'test-b')).toMatchObject({ sum: 1 });
    await Promise.all([store.close(), ...models.map((m) => m.close())]);
  });

  it('loses nothing when PostgreSQL is killed between and during runs', async () => {
    const url = await server.database();
    await migrate(url);
    const store = new PostgresEventStore({ url, ids: new RandomIds(), retryFor: 5_000 });
    const model = new PostgresReadModel({ url, schema: 'app' });
    await model.prepare(tables);
    const projector = new Projector(store, model, projections, { batch: 4 });
    for (let round = 0; round < 3; round++) {
      for (let n = 0; n < 20; n++)
        await store.append(`test-${n % 3}-${round}`, Math.floor(n / 3) - 1, [
          newEvent('ServerDeleted', { amount: n, text: 't' }),
        ]);
      const running = projector.catchUp().catch(() => {});
      await server.kill();
      await running;
      await server.start();
    }
    const head = await store.head();
    expect(await projector.catchUp()).toBe(head);
    const twin = new MemoryReadModel();
    await new Projector(store, twin, projections).catchUp();
    expect(await dumpOf(model)).toEqual(await dumpOf(twin));
    await Promise.all([store.close(), model.close()]);
  });
});
