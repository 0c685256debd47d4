import type { Position } from '@omnivisor/contracts';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { History, RowVersion } from '../history.js';
import { MemoryReadModel } from '../memory/memory-read-model.js';
import { type Query, type RowReader, type Table, table } from '../read-model.js';

interface Thing {
  readonly name: string;
  readonly size: number;
}

export interface HistoryUnderTest {
  /** An empty history of its own with these tables. */
  fresh(...tables: Table<never>[]): Promise<History>;
  /** Another replica's view of the history that `fresh` made last. */
  again(): Promise<History>;
  close(): Promise<void>;
}

const things = table<Thing>('things_v1', ['name'], ['size', 'name']);
const others = table<Thing>('others_v1');
const version = (position: Position, key: string, row: Thing | undefined, of: Table<never> = things): RowVersion => ({
  table: of,
  key,
  position,
  row,
});
const keep = (history: History, to: Position, versions: readonly RowVersion[]) =>
  history.advance(async () => ({ to, versions }));

/** Versions at growing positions, in batches as a historian writes them. */
const past = fc.array(
  fc.array(
    fc.record({
      key: fc.constantFrom('a', 'b', 'c', 'ü\u0000'),
      row: fc.option(fc.record({ name: fc.constantFrom('x', 'y', 'z'), size: fc.integer({ min: -2, max: 2 }) }), {
        nil: undefined,
      }),
      of: fc.constantFrom<Table<Thing>>(things, others),
    }),
    { maxLength: 12 },
  ),
  { maxLength: 6 },
);
const queries: readonly Query<Thing>[] = [
  {},
  { where: { name: 'x' } },
  { where: { size: { gt: 0 } }, orderBy: [['name', 'desc']], limit: 2 },
  { orderBy: [['size', 'asc']] },
];

const answers = async (rows: RowReader) => {
  const said: unknown[] = [await rows.count(things), await rows.get(others, 'b')];
  for (const query of queries) said.push(await rows.find(things, query), await rows.find(others, query));
  return said;
};

/** What every history does. */
export const describeHistory = (name: string, make: () => Promise<HistoryUnderTest>): void => {
  describe(`history: ${name}`, () => {
    let under: HistoryUnderTest;
    beforeAll(async () => {
      under = await make();
    });
    afterAll(() => under?.close());

    it('says of each moment what was said then', async () => {
      await fc.assert(
        fc.asyncProperty(past, async (batches) => {
          const history = await under.fresh(things, others);
          const live = new MemoryReadModel();
          const said: unknown[] = [await answers(live)];
          let position = 0;
          for (const batch of batches) {
            const versions: RowVersion[] = [];
            for (const { key, row, of } of batch) {
              position++;
              versions.push(version(position, key, row, of));
              await live.advance(async () => ({ to: position, changes: [{ table: of as Table<never>, key, row }] }));
              said[position] = await answers(live);
            }
            await keep(history, position, versions);
          }
          expect(await history.checkpoint()).toBe(position);
          for (const [moment, expected] of said.entries()) expect(await answers(history.at(moment))).toEqual(expected);
          await history.close();
        }),
        { numRuns: 25 },
      );
    });

    it('gives the newest rows to what goes on, and keeps all of it or nothing', async () => {
      const history = await under.fresh(things);
      await keep(history, 3, [version(1, 'a', { name: 'x', size: 1 }), version(3, 'a', { name: 'y', size: 2 })]);
      await expect(
        history.advance(async (from, newest) => {
          expect(from).toBe(3);
          expect(await newest.get(things, 'a')).toEqual({ name: 'y', size: 2 });
          throw new Error('no');
        }),
      ).rejects.toThrow('no');
      expect(await history.checkpoint()).toBe(3);
      await history.close();
    });

    it('lets two moments be compared', async () => {
      const history = await under.fresh(things);
      await keep(history, 2, [version(1, 'a', { name: 'x', size: 1 }), version(2, 'a', { name: 'x', size: 2 })]);
      const [before, after] = [history.at(1), history.at(2)];
      const sizes = await Promise.all([after, before, after].map(async (rows) => (await rows.get(things, 'a'))?.size));
      expect(sizes).toEqual([2, 1, 2]);
      await history.close();
    });

    it('tells another row where one was rewritten, at the moments when it was there', async () => {
      const history = await under.fresh(things);
      await keep(history, 4, [
        version(1, 'a', { name: 'x', size: 1 }),
        version(2, 'a', { name: 'x', size: 2 }),
        version(3, 'a', undefined),
        version(4, 'b', { name: 'x', size: 4 }),
      ]);
      await history.at(4).count(things);
      const rewritten = [1, 2].map((size) => version(size, 'a', { name: 'erased', size }));
      const never = [version(3, 'a', { name: 'erased', size: 3 }), version(9, 'c', { name: 'erased', size: 9 })];
      expect(await history.rewrite([...rewritten, ...never, version(4, 'b', { name: 'x', size: 4 })])).toBe(2);
      expect(await history.rewrite(rewritten)).toBe(0);
      const find = (moment: Position, name: string) => history.at(moment).find(things, { where: { name } });
      expect(await find(2, 'erased')).toEqual([{ name: 'erased', size: 2 }]);
      expect([await find(2, 'x'), await find(4, 'erased')]).toEqual([[], []]);
      expect(await history.at(4).count(things)).toBe(1);
      await history.close();
    });

    it('is kept once by two replicas at a time', async () => {
      const [one, two] = [await under.fresh(things), await under.again()];
      const step = (history: History) =>
        history.advance(async (from) => ({
          to: from + 1,
          versions: [version(from + 1, 'a', { name: 'n', size: from })],
        }));
      await Promise.all(Array.from({ length: 20 }, (_, i) => step(i % 2 ? one : two)));
      expect(await one.checkpoint()).toBe(20);
      for (const moment of [1, 7, 20])
        expect(await two.at(moment).get(things, 'a')).toMatchObject({ size: moment - 1 });
      await one.close();
      await two.close();
    });
  });
};
