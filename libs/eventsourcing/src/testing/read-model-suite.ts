import { randomUUID } from 'node:crypto';
import type { Instant } from '@omnivisor/contracts';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MemoryReadModel } from '../memory/memory-read-model.js';
import {
  type Condition,
  dueTable,
  type Query,
  type ReadModel,
  type RowChange,
  type Scalar,
  type Table,
  table,
} from '../read-model.js';

interface Thing {
  readonly name?: Scalar | readonly Scalar[];
  readonly size?: Scalar;
  readonly note?: Scalar;
  readonly tags?: readonly Scalar[];
}

export interface ReadModelUnderTest {
  /** An empty read model of its own with these tables. */
  fresh(...tables: Table<never>[]): Promise<ReadModel>;
  /** Another replica's view of the read model that `fresh` made last. */
  again(): Promise<ReadModel>;
  close(): Promise<void>;
}

const things = table<Thing>('things_v1', ['name'], ['size', 'name']);
const others = table<{ n: number }>('others_v1');
const put = (key: string, row: object | undefined, of: Table<never> = things): RowChange => ({ table: of, key, row });
const at = (n: number) => new Date(Date.UTC(2026, 0, 1) + n * 1_000).toISOString() as Instant;
const due = (process: string, id: string, n: number): RowChange =>
  put(`${process}/${id}`, { process, id, dueAt: at(n) }, dueTable);

const scalar: fc.Arbitrary<Scalar> = fc.oneof(
  fc.constantFrom<Scalar>(null, true, false, 0, -1, 1, 10, 9, 0.5, -1e300, 1e21, '', 'a', 'b', 'aa', 'B', 'ä', '😀'),
  fc.constantFrom<Scalar>('\uffff', '\u0000', '\ud800', '\ufffe', 'null', 'true', '10', '9', "'; --", '%', '\\u0000'),
  fc.string({ unit: 'binary', maxLength: 4 }),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.integer(),
);
const thing: fc.Arbitrary<Thing> = fc.record(
  { name: fc.oneof(scalar, fc.array(scalar, { maxLength: 2 })), size: scalar, note: scalar, tags: fc.array(scalar) },
  { requiredKeys: [] },
);
const condition: fc.Arbitrary<Condition> = fc.oneof(
  scalar,
  fc.record({ in: fc.array(scalar, { maxLength: 4 }) }),
  fc.record({ ne: scalar }),
  fc.record({ gt: scalar, gte: scalar, lt: scalar, lte: scalar }, { requiredKeys: [] }),
  fc.record({ contains: scalar }),
  fc.record({ includes: fc.oneof(fc.constantFrom('', 'a', '%', '\u0000'), fc.string({ maxLength: 2 })) }),
);
const field = fc.constantFrom<keyof Thing>('name', 'size', 'note', 'tags');
const sortable = fc.constantFrom<keyof Thing>('size', 'note');
const query: fc.Arbitrary<Query<Thing>> = fc
  .record({
    where: fc.dictionary(field, condition, { maxKeys: 2 }),
    orderBy: fc.uniqueArray(fc.tuple(sortable, fc.constantFrom('asc', 'desc')), {
      maxLength: 2,
      selector: (o) => o[0],
    }),
    limit: fc.option(fc.integer({ min: 0, max: 5 }), { nil: undefined }),
  })
  .map(({ limit, ...rest }) => (limit === undefined ? rest : { ...rest, limit }) as Query<Thing>);

const dumpOf = async (model: ReadModel, of: Table<never>): Promise<unknown[]> => {
  const rows: unknown[] = [];
  for await (const row of model.dump(of)) rows.push(row);
  return rows;
};

/** What every read model does. */
export const describeReadModel = (name: string, make: () => Promise<ReadModelUnderTest>): void => {
  describe(`read model: ${name}`, () => {
    let under: ReadModelUnderTest;
    const opened: ReadModel[] = [];
    const fresh = async (...tables: Table<never>[]) => {
      const model = await under.fresh(...tables);
      opened.push(model);
      return model;
    };
    const again = async () => {
      const model = await under.again();
      opened.push(model);
      return model;
    };

    beforeAll(async () => {
      under = await make();
    });
    afterAll(async () => {
      for (const model of opened) await model.close();
      await under?.close();
    });

    it('stores rows and checkpoint together', async () => {
      const model = await fresh(things, others);
      expect(await model.checkpoint()).toBe(0);
      const to = await model.advance(async (from) => ({
        to: from + 3,
        changes: [
          put('a', { name: 'A' }),
          put('b', { name: 'B' }),
          put('b', { name: 'C' }),
          put('n', { n: 1 }, others),
        ],
      }));
      expect(to).toBe(3);
      expect(await (await again()).checkpoint()).toBe(3);
      expect(await model.get(things, 'b')).toEqual({ name: 'C' });
      expect(await model.get(things, 'c')).toBeUndefined();
      expect(await model.getMany(things, ['a', 'c', 'b'])).toEqual(
        new Map([
          ['a', { name: 'A' }],
          ['b', { name: 'C' }],
        ]),
      );
      await model.advance(async (from, rows) => {
        expect(from).toBe(3);
        expect(await rows.get(others, 'n')).toEqual({ n: 1 });
        return { to: 4, changes: [put('a', undefined), put('nothing', undefined), put('n', { n: 2 }, others)] };
      });
      expect(await model.get(things, 'a')).toBeUndefined();
      expect(await dumpOf(model, others)).toEqual([{ key: 'n', row: { n: 2 } }]);
    });

    it('changes nothing when the work fails', async () => {
      const model = await fresh(things);
      await expect(
        model.advance(async () => {
          throw new Error('no');
        }),
      ).rejects.toThrow('no');
      await expect(
        model.advance(async () => ({ to: 5, changes: [put('a', undefined as never), put('x', circular())] })),
      ).rejects.toThrow();
      expect(await model.checkpoint()).toBe(0);
      expect(await model.advance(async () => ({ to: 1, changes: [put('a', { name: 1 })] }))).toBe(1);
      expect(await model.advance(async () => ({ to: 1, changes: [] }))).toBe(1);
    });

    it('lets replicas take turns', async () => {
      const model = await fresh(others);
      const replicas = [model, await again(), await again()];
      const count = async (replica: ReadModel) => {
        for (let i = 0; i < 20; i++)
          await replica.advance(async (from, rows) => ({
            to: from + 1,
            changes: [put('sum', { n: ((await rows.get(others, 'sum'))?.n ?? 0) + 1 }, others)],
          }));
      };
      await Promise.all(replicas.map(count));
      expect(await model.checkpoint()).toBe(60);
      expect(await model.get(others, 'sum')).toEqual({ n: 60 });
    });

    it('sorts lists after every scalar', async () => {
      const model = await fresh(things);
      await model.advance(async () => ({ to: 1, changes: [put('a', { name: 'x', tags: [] } as never)] }));
      expect(await model.count(things, { tags: { lte: true } } as never)).toBe(0);
      expect(await model.count(things, { tags: { gt: true } } as never)).toBe(1);
    });

    it('answers as the memory twin does', async () => {
      const model = await fresh(things);
      const twin = new MemoryReadModel();
      const key = fc.oneof(fc.constantFrom('a', 'b', 'Z', 'ä', '\u0000', '\ufffe', '😀'), fc.string({ maxLength: 3 }));
      await fc.assert(
        fc.asyncProperty(
          fc.uniqueArray(fc.tuple(key, thing), { minLength: 1, maxLength: 12, selector: (row) => row[0] }),
          fc.array(query, { minLength: 4, maxLength: 12 }),
          async (rows, queries) => {
            const old: RowChange[] = ((await dumpOf(twin, things)) as { key: string }[]).map((r) =>
              put(r.key, undefined),
            );
            const changes = [...old, ...rows.map(([k, row]) => put(k, row))];
            for (const m of [model, twin]) await m.advance(async (from) => ({ to: from + 1, changes }));
            expect(await dumpOf(model, things)).toEqual(await dumpOf(twin, things));
            for (const q of queries) {
              expect(await model.find(things, q), JSON.stringify(q)).toEqual(await twin.find(things, q));
              expect([...(await model.scan(things, q))], JSON.stringify(q)).toEqual(await twin.find(things, q));
              expect(await model.count(things, q.where)).toBe(await twin.count(things, q.where));
              const paged = { ...q, after: rows[0]![0] };
              expect(await model.find(things, paged), JSON.stringify(paged)).toEqual(await twin.find(things, paged));
            }
          },
        ),
        { numRuns: 60 },
      );
    });

    it('refuses a marker that names no row', async () => {
      const model = await fresh(things);
      await expect(model.find(things, { after: 'none' })).rejects.toMatchObject({ kind: 'invalid' });
    });

    it('takes long texts', async () => {
      const model = await fresh(things);
      const long = 'ä'.repeat(5_000);
      await model.advance(async () => ({
        to: 1,
        changes: [put('a', { name: long, note: long }), put('b', { name: 'z' })],
      }));
      expect(await model.find(things, { where: { name: long } })).toEqual([{ name: long, note: long }]);
      expect(await model.count(things, { note: long })).toBe(1);
      expect(await model.count(things, { name: `${long}ä` })).toBe(0);
      expect((await model.find(things, { orderBy: [['name', 'desc']] })).map((r) => r.name)).toEqual([long, 'z']);
    });

    it('leases due work to one replica until the lease ends', async () => {
      const model = await fresh();
      const other = await again();
      await model.advance(async () => ({
        to: 1,
        changes: [due('build', 'b', 2), due('build', 'a', 1), due('build', 'later', 9), due('stop', 'a', 1)],
      }));
      expect(await model.nextDue('build')).toBe(at(1));
      expect(await model.nextDue('none')).toBeNull();
      expect(await model.lease('build', at(5), at(10), 10)).toEqual([
        { process: 'build', id: 'a', dueAt: at(1) },
        { process: 'build', id: 'b', dueAt: at(2) },
      ]);
      expect(await other.lease('build', at(5), at(10), 10)).toEqual([]);
      expect(await model.nextDue('build')).toBe(at(9));
      // Not renewed: a crash. Somebody else takes it up.
      expect((await other.lease('build', at(10), at(20), 1)).map((w) => w.id)).toEqual(['a']);
      expect((await model.lease('build', at(10), at(20), 10)).map((w) => w.id)).toEqual(['b', 'later']);
      await model.unlease('build', 'b', at(12));
      expect(await model.nextDue('build')).toBe(at(12));
      expect(await model.lease('build', at(11), at(20), 10)).toEqual([]);
      expect((await model.lease('build', at(12), at(20), 10)).map((w) => w.id)).toEqual(['b']);
      // What is done is done, and its lease with it.
      await model.advance(async () => ({ to: 2, changes: [put('build/a', undefined, dueTable)] }));
      await model.unlease('build', 'a', at(13));
      await model.advance(async () => ({ to: 3, changes: [due('build', 'a', 14)] }));
      expect((await model.lease('build', at(14), at(30), 10)).map((w) => w.id)).toEqual(['a']);
    });

    it('leases work again that a replica with a clock far ahead had leased', async () => {
      const model = await fresh();
      await model.advance(async () => ({ to: 1, changes: [due('skew', 'a', 1)] }));
      expect(await model.lease('skew', at(40), at(45), 1)).toHaveLength(1);
      expect(await model.lease('skew', at(36), at(41), 1)).toEqual([]);
      expect(await model.lease('skew', at(34), at(39), 1)).toHaveLength(1);
    });

    it('never leases the same work twice when replicas ask at once', async () => {
      const model = await fresh();
      const replicas = [model, await again(), await again(), await again()];
      const ids = Array.from({ length: 60 }, () => randomUUID());
      await model.advance(async () => ({ to: 1, changes: ids.map((id, n) => due('race', id, n)) }));
      const taken = await Promise.all(
        replicas.map(async (replica) => {
          const mine: string[] = [];
          for (;;) {
            const work = await replica.lease('race', at(100), at(200), 7);
            if (work.length === 0) return mine;
            mine.push(...work.map((w) => w.id));
          }
        }),
      );
      expect(taken.flat().sort()).toEqual([...ids].sort());
    });
  });
};

const circular = (): object => {
  const row: { self?: object } = {};
  row.self = row;
  return row;
};
