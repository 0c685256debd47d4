import { randomUUID } from 'node:crypto';
import type { CommandContext, NewEvent, RecordedEvent } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type EventStore, WrongExpectedRevision } from '../event-store.js';

/** One log, and as many connections to it as a test asks for. */
export interface EventStoreUnderTest {
  /** Another process's view of the same log. */
  open(): Promise<EventStore>;
  /** False when positions may have holes. */
  readonly contiguous: boolean;
  close(): Promise<void>;
}

export const contextOf = (command: string = randomUUID()): CommandContext => {
  const requestId = `req-${randomUUID()}` as CommandContext['requestId'];
  return {
    actor: { kind: 'service', service: 'spec' },
    requestId,
    correlationId: requestId,
    causationId: null,
    commandId: command as CommandContext['commandId'],
  };
};

export const newEvent = (type: string, data: unknown = {}, context = contextOf()): NewEvent => ({
  type,
  data,
  schemaVersion: 1,
  context,
});

const unique = (name: string) => `test-${name}-${randomUUID()}`;

const follow = async (store: EventStore, from: number, seen: RecordedEvent[], until: () => boolean): Promise<void> => {
  for (let at = from; ; ) {
    const end = until();
    const events = await store.readAll(at, 100);
    seen.push(...events);
    at = events.at(-1)?.position ?? at;
    if (end && events.length === 0) return;
    if (events.length === 0) await new Promise((resolve) => setImmediate(resolve));
  }
};

/** What every event store does. */
export const describeEventStore = (name: string, make: () => Promise<EventStoreUnderTest>): void => {
  describe(`event store: ${name}`, () => {
    let log: EventStoreUnderTest;
    let store: EventStore;
    const opened: EventStore[] = [];
    const open = async () => {
      const other = await log.open();
      opened.push(other);
      return other;
    };

    beforeAll(async () => {
      log = await make();
      store = await open();
    });

    afterAll(async () => {
      for (const each of opened) await each.close();
      await log?.close();
    });

    it('gives back what was appended', async () => {
      const stream = unique('a');
      const context = contextOf();
      const data = { text: 'ü€😀\u0000"\\', number: 1e21, list: [null, true, { b: 1, a: 2 }] };
      const before = await store.head();
      const result = await store.append(stream, -1, [
        newEvent('First', data, context),
        newEvent('Second', {}, context),
      ]);
      expect(result).toMatchObject({ revision: 1, duplicate: false });
      expect(result.events.map((e) => e.type)).toEqual(['First', 'Second']);
      expect(result.events[0]).toMatchObject({ stream, revision: 0, data, schemaVersion: 1, context });
      expect(result.events[0]!.recordedAt).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
      expect(result.events[0]!.id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-[57]/);
      expect(await store.readStream(stream)).toEqual(result.events);
      expect(await store.readStream(stream, 1)).toEqual(result.events.slice(1));
      expect(await store.readStream(stream, 2)).toEqual([]);
      expect(await store.readAll(before, 10)).toEqual(result.events);
      expect(await store.head()).toBe(result.position);
    });

    it('knows nothing of a stream that does not exist', async () => {
      expect(await store.readStream(unique('none'))).toEqual([]);
    });

    it('refuses another revision than the expected one, and then changes nothing', async () => {
      const stream = unique('revision');
      await store.append(stream, -1, [newEvent('A')]);
      const head = await store.head();
      for (const expected of [-1, 1, 7])
        await expect(store.append(stream, expected, [newEvent('B')])).rejects.toMatchObject({
          name: 'WrongExpectedRevision',
          stream,
          expected,
          actual: 0,
        });
      await expect(store.append(unique('new'), 0, [newEvent('B')])).rejects.toBeInstanceOf(WrongExpectedRevision);
      expect(await store.head()).toBe(head);
    });

    it('gives the first result again to the same command, whatever it expects', async () => {
      const stream = unique('command');
      const context = contextOf();
      const first = await store.append(stream, -1, [newEvent('A', { n: 1 }, context), newEvent('B', {}, context)]);
      await store.append(stream, 1, [newEvent('C')]);
      for (const expected of [-1, 1, 2]) {
        const again = await store.append(stream, expected, [newEvent('A', { n: 2 }, context)]);
        expect(again).toEqual({ ...first, duplicate: true });
      }
      const elsewhere = await store.append(unique('command'), -1, [newEvent('A', {}, context)]);
      expect(elsewhere.duplicate).toBe(false);
    });

    it('appends what several commands do together, each as a command of its own', async () => {
      const stream = unique('each');
      const [a, b] = [contextOf(), contextOf()];
      const results = await store.appendEach(stream, -1, [
        [newEvent('A', {}, a), newEvent('A', {}, a)],
        [newEvent('B', {}, b)],
      ]);
      expect(results.map((r) => [r.revision, r.duplicate])).toEqual([
        [1, false],
        [2, false],
      ]);
      expect(results.flatMap((r) => r.events)).toEqual(await store.readStream(stream));
      expect(await store.append(stream, -1, [newEvent('B', {}, b)])).toEqual({ ...results[1], duplicate: true });
    });

    it('puts no command in behind one that was not appended now', async () => {
      const stream = unique('behind');
      const once = contextOf();
      await store.append(stream, -1, [newEvent('A', {}, once)]);
      // The second would be at its revision if the first had gone in; somebody else's event is there instead.
      await expect(store.appendEach(stream, -1, [[newEvent('B')], [newEvent('C')]])).rejects.toMatchObject({
        name: 'WrongExpectedRevision',
        actual: 0,
      });
      const results = await store.appendEach(stream, 0, [[newEvent('D')], [newEvent('A', {}, once)], [newEvent('E')]]);
      expect(results.map((r) => r.duplicate)).toEqual([false, true]);
      expect((await store.readStream(stream)).map((e) => e.type)).toEqual(['A', 'D']);
    });

    it('appends none of several commands when one of them is too large', async () => {
      const stream = unique('one-large');
      const commands = [[newEvent('A')], [newEvent('B', { text: 'x'.repeat(70_000) })]];
      await expect(store.appendEach(stream, -1, commands)).rejects.toMatchObject({ kind: 'tooLarge' });
      expect(await store.readStream(stream)).toEqual([]);
    });

    it('refuses an event that is too large, a nameless stream and half a character', async () => {
      const large = store.append(unique('large'), -1, [newEvent('A', { text: 'x'.repeat(70_000) })]);
      await expect(large).rejects.toMatchObject({ kind: 'tooLarge' });
      await expect(store.append('', -1, [newEvent('A')])).rejects.toMatchObject({ kind: 'invalid' });
      await expect(store.readStream('server-\u0000')).rejects.toMatchObject({ kind: 'invalid' });
      await expect(store.append(unique('half'), -1, [newEvent('A', { t: '\ud800' })])).rejects.toMatchObject({
        kind: 'invalid',
      });
    });

    it('wakes its own listeners after an append', async () => {
      let woken = 0;
      const end = store.subscribe(() => woken++);
      await store.append(unique('wake'), -1, [newEvent('A')]);
      expect(woken).toBeGreaterThan(0);
      end();
      const before = woken;
      await store.append(unique('wake'), -1, [newEvent('A')]);
      expect(woken).toBe(before);
    });

    it('never dates an event before its predecessor', async () => {
      const others = await Promise.all([open(), open()]);
      await Promise.all(
        others.flatMap((s) => Array.from({ length: 20 }, () => s.append(unique('time'), -1, [newEvent('A')]))),
      );
      const times = (await store.readAll(0, 10_000)).map((e) => e.recordedAt as string);
      expect(times).toEqual([...times].sort());
    });

    it('lets exactly one of several writers win a revision', async () => {
      const writers = await Promise.all([open(), open(), open(), open()]);
      for (let round = 0; round < 25; round++) {
        const stream = unique('race');
        const outcomes = await Promise.allSettled(
          writers.map((w, n) => w.append(stream, -1, [newEvent('Won', { n })])),
        );
        expect(outcomes.filter((o) => o.status === 'fulfilled')).toHaveLength(1);
        for (const o of outcomes) if (o.status === 'rejected') expect(o.reason).toBeInstanceOf(WrongExpectedRevision);
        expect(await store.readStream(stream)).toHaveLength(1);
      }
    });

    it('gives one result to the same command sent by several at once', async () => {
      const writers = await Promise.all([open(), open(), open(), open()]);
      for (let round = 0; round < 25; round++) {
        const stream = unique('twice');
        const context = contextOf();
        const results = await Promise.all(writers.map((w) => w.append(stream, -1, [newEvent('Once', {}, context)])));
        expect(results.filter((r) => !r.duplicate)).toHaveLength(1);
        expect(new Set(results.map((r) => r.position)).size).toBe(1);
        expect(await store.readStream(stream)).toHaveLength(1);
      }
    });

    it('shows a polling reader everything that 32 writers append, once and in order', async () => {
      const stores = await Promise.all([open(), open(), open(), open()]);
      const from = await store.head();
      const seen: RecordedEvent[] = [];
      let done = false;
      const reading = follow(await open(), from, seen, () => done);
      const acknowledged = await Promise.all(
        Array.from({ length: 32 }, async (_, n) => {
          const stream = unique(`load-${n}`);
          const positions: number[] = [];
          for (let i = 0; i < 30; i++) {
            const context = contextOf();
            const two = i % 3 === 0;
            const events = two
              ? [newEvent('A', { i }, context), newEvent('B', { i }, context)]
              : [newEvent('A', { i })];
            const past = i === 0 ? -1 : positions.length - 1;
            const result = await stores[n % 4]!.append(stream, past, events);
            positions.push(...result.events.map((e) => e.position));
          }
          return positions;
        }),
      );
      done = true;
      await reading;
      const expected = acknowledged.flat().sort((a, b) => a - b);
      expect(seen.map((e) => e.position)).toEqual(expected);
      if (log.contiguous) expect(expected.at(-1)! - from).toBe(expected.length);
      expect(await store.head()).toBe(expected.at(-1));
    });
  });
};
