import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { EventIndex, IndexEntry, IndexQuery } from '../event-index/event-index.js';

export interface EventIndexUnderTest {
  /** An empty index of its own. */
  fresh(): Promise<EventIndex>;
  /** Another replica's view of the index that `fresh` made last. */
  again(): Promise<EventIndex>;
  close(): Promise<void>;
}

const project = fc.constantFrom('p1', 'p2', "p'3", 'ü');
const actor = fc.constantFrom('u1', 'u2', 'scheduler');
const type = fc.constantFrom('ServerDeleted', 'PortCreated', 'UserCreated');
const resource = fc.constantFrom('r1', 'r2', 'r{3}', 'r"4,');
const entries = fc.array(
  fc.record({
    type,
    project: fc.option(project),
    actor,
    resources: fc.uniqueArray(resource, { maxLength: 3 }),
  }),
  { minLength: 1, maxLength: 40 },
);
const query: fc.Arbitrary<IndexQuery> = fc.record(
  {
    project: fc.option(project),
    actor,
    types: fc.uniqueArray(type, { minLength: 1, maxLength: 2 }),
    resource,
    after: fc.nat(40),
    until: fc.nat(45),
    order: fc.constantFrom('oldest first', 'newest first'),
    limit: fc.integer({ min: 1, max: 20 }),
  },
  { requiredKeys: ['after', 'until', 'order', 'limit'] },
);

const isFound = (e: IndexEntry, q: IndexQuery) =>
  e.position > q.after &&
  e.position <= q.until &&
  (q.project === undefined || e.project === q.project) &&
  (q.actor === undefined || e.actor === q.actor) &&
  (q.types?.includes(e.type) ?? true) &&
  (q.resource === undefined || e.resources.includes(q.resource));

/** What every index of events does. */
export const describeEventIndex = (name: string, make: () => Promise<EventIndexUnderTest>): void => {
  describe(`index of events: ${name}`, () => {
    let under: EventIndexUnderTest;
    beforeAll(async () => {
      under = await make();
    });
    afterAll(() => under?.close());

    it('finds what was put in, in order, and nothing else', async () => {
      await fc.assert(
        fc.asyncProperty(entries, fc.array(query, { maxLength: 10 }), async (given, queries) => {
          const index = await under.fresh();
          const all = given.map((entry, i) => ({ ...entry, position: i + 1 }));
          const half = Math.floor(all.length / 2);
          for (const part of [all.slice(0, half), all.slice(half)])
            await index.advance(async (from) => ({ to: from + part.length, entries: part }));
          for (const q of queries) {
            const positions = all.filter((e) => isFound(e, q)).map((e) => e.position);
            const expected = q.order === 'oldest first' ? positions : positions.reverse();
            expect(await index.find(q)).toEqual(expected.slice(0, q.limit));
          }
          await index.close();
        }),
        { numRuns: 25 },
      );
    });

    it('is filled once by two replicas, and keeps all of a piece or nothing', async () => {
      const [one, two] = [await under.fresh(), await under.again()];
      const entry = (position: number) => ({ position, type: 'T', project: 'p', actor: 'a', resources: ['r'] });
      const step = (index: EventIndex) => index.advance(async (from) => ({ to: from + 1, entries: [entry(from + 1)] }));
      await Promise.all(Array.from({ length: 20 }, (_, i) => step(i % 2 ? one : two)));
      await expect(
        one.advance(async () => {
          throw new Error('no');
        }),
      ).rejects.toThrow('no');
      expect(await two.checkpoint()).toBe(20);
      const all = { after: 0, until: 100, order: 'oldest first', limit: 100 } as const;
      expect(await two.find({ ...all, project: 'p' })).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
      await one.close();
      await two.close();
    });
  });
};
