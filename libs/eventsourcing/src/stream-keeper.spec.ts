import { event, eventSet, seconds } from '@omnivisor/contracts';
import { type Clock, RandomIds, SystemClock } from '@omnivisor/platform/ports';
import { VirtualClock } from '@omnivisor/platform/testing';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { CommandHandler } from './command-handler.js';
import type { Aggregate } from './decider.js';
import { MemoryEventStore } from './memory/index.js';
import { MemorySnapshots } from './snapshot/memory-snapshots.js';
import { StreamKeeper } from './stream-keeper.js';
import { contextOf } from './testing/event-store-suite.js';

type Said = { readonly type: 'Said'; readonly data: { readonly word: string } };

/** Remembers the last words, in their order, and how many there were. */
const chatOf = (version: string): Aggregate<{ count: number; last: string[] }, string, Said> => ({
  events: eventSet({
    stream: 'chat',
    writer: 'api-gateway',
    events: { Said: event('Somebody said something.', z.object({ word: z.string() })) },
  }),
  initial: { count: 0, last: [] },
  decide: (word) => [{ type: 'Said', data: { word } }],
  evolve: ({ count, last }, { data }) => ({ count: count + 1, last: [...last, data.word].slice(-3) }),
  kept: { version, write: (state) => state, read: (state) => state as never },
});
const chat = chatOf('1');

const setup = (every: number) => {
  const store = new MemoryEventStore(new SystemClock(), new RandomIds());
  const snapshots = new MemorySnapshots();
  const read: number[] = [];
  const readStream = store.readStream.bind(store);
  store.readStream = async (stream, from) => {
    const events = await readStream(stream, from);
    read.push(events.length);
    return events;
  };
  const errors: string[] = [];
  /** A process that begins now, on this log or another. */
  const begin = (log = store, clock: Clock = new SystemClock()) => {
    const keeper = new StreamKeeper({
      ...{ store: log, snapshots, clock, every },
      onError: (where, error) => errors.push(`${where}: ${error}`),
    });
    return { keeper, handler: new CommandHandler(log, { clock: new SystemClock(), keeper }) };
  };
  const say = async (words: readonly string[], { keeper, handler } = begin()) => {
    for (const word of words) await handler.execute(chat, 'x', word, contextOf());
    await keeper.done();
  };
  return { store, snapshots, read, errors, begin, say };
};
const words = (n: number) => Array.from({ length: n }, (_, i) => `w${i}`);
const folded = (list: readonly string[]) => ({ count: list.length, last: list.slice(-3) });

describe('the kept state of a long stream', () => {
  it('and what came after it give the state of the whole stream, wherever it was kept and whoever goes on', () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(fc.string({ unit: 'grapheme', maxLength: 3 }), { maxLength: 12 }), { maxLength: 5 }),
        fc.integer({ min: 1, max: 9 }),
        async (lives, every) => {
          const { begin, say, errors } = setup(every);
          const said: string[] = [];
          for (const life of lives) {
            await say(life);
            said.push(...life);
            expect(await begin().handler.load(chat, 'x')).toEqual(folded(said));
          }
          expect(errors).toEqual([]);
        },
      ),
      { numRuns: 25 },
    ));

  it('spares the next process all events but the last ones', async () => {
    const { begin, say, read } = setup(100);
    await say(words(250));
    read.length = 0;
    expect(await begin().handler.load(chat, 'x')).toEqual(folded(words(250)));
    // The one that it was kept at, and those after it.
    expect(read).toEqual([250 - 200]);
  });

  it('is not there for short streams', async () => {
    const { begin, say, read } = setup(100);
    await say(words(90));
    read.length = 0;
    expect(await begin().handler.load(chat, 'x')).toEqual(folded(words(90)));
    expect(read).toEqual([90]);
  });

  it('is made by a process that had to read a long stream', async () => {
    const { store, begin, say, read } = setup(100);
    await say(words(150), { ...begin(), handler: new CommandHandler(store, { clock: new SystemClock() }) });
    const first = begin();
    expect(await first.handler.load(chat, 'x')).toEqual(folded(words(150)));
    await first.keeper.done();
    read.length = 0;
    expect(await begin().handler.load(chat, 'x')).toEqual(folded(words(150)));
    expect(read).toEqual([1]);
  });

  it('counts for nothing to another version of the fold', async () => {
    const { begin, say } = setup(10);
    await say(words(30));
    const later = chatOf('2');
    const { handler } = begin();
    expect(await handler.load({ ...later, evolve: (s, e) => ({ ...chat.evolve(s, e), last: ['new'] }) }, 'x')).toEqual({
      count: 30,
      last: ['new'],
    });
  });

  it.each([
    ['is of another log', 40],
    ['is of a longer log', 5],
  ])('is left alone when it %s, and says so', async (_, length) => {
    const { begin, say, errors } = setup(10);
    await say(words(30));
    const other = new MemoryEventStore(new SystemClock(), new RandomIds());
    const others = words(length).map((word) => `other ${word}`);
    const plain = new CommandHandler(other, { clock: new SystemClock() });
    for (const word of others) await plain.execute(chat, 'x', word, contextOf());
    expect(await begin(other).handler.load(chat, 'x')).toEqual(folded(others));
    expect(errors).toEqual([expect.stringContaining('is left alone, and the whole stream folded')]);
  });

  it('is left alone when it cannot be read, or is none', async () => {
    const { begin, say, snapshots, errors } = setup(10);
    await say(words(30));
    const kept = snapshots.of('stream chat-x', '1');
    await kept.save({ ...(await kept.load())!, parts: ['{"revision":'] });
    expect(await begin().handler.load(chat, 'x')).toEqual(folded(words(30)));
    snapshots.of = () => ({
      load: () => Promise.reject(new Error('away')),
      save: () => Promise.reject(new Error('full')),
    });
    const { handler, keeper } = begin();
    expect(await handler.load(chat, 'x')).toEqual(folded(words(30)));
    await keeper.done();
    expect(errors).toEqual([
      expect.stringContaining('JSON'),
      expect.stringContaining('away'),
      expect.stringContaining('full'),
    ]);
  });

  it.each(['comes', 'fails'])(
    'is not waited for when it takes long, and changes nothing when it %s later',
    async (end) => {
      const { store, begin, say, snapshots, read, errors } = setup(10);
      await say(words(30));
      const snapshot = await snapshots.of('stream chat-x', '1').load();
      const waiting: (() => void)[] = [];
      snapshots.of = () => ({
        load: () =>
          new Promise((resolve, reject) =>
            waiting.push(() => (end === 'comes' ? resolve(snapshot) : reject(new Error('gone')))),
          ),
        save: async () => {},
      });
      const clock = new VirtualClock();
      const { handler } = begin(store, clock);
      read.length = 0;
      const state = handler.load(chat, 'x');
      await clock.runUntil(() => read.length > 0, seconds(1));
      expect(await state).toEqual(folded(words(30)));
      for (const answer of waiting) answer();
      expect(await handler.load(chat, 'x')).toEqual(folded(words(30)));
      expect(read).toEqual([30, 0]);
      expect(errors).toEqual([expect.stringContaining('not there after 1000 ms')]);
    },
  );

  it('that cannot be written changes nothing about a command that is in the log, and says so once', async () => {
    const { store, begin, errors } = setup(10);
    const seen: string[] = [];
    const unwritable: typeof chat = {
      ...chat,
      kept: {
        version: '1',
        write: () => {
          seen.push('write');
          throw new Error('too large');
        },
        read: (state) => state as never,
      },
    };
    const { keeper } = begin();
    const handler = new CommandHandler(store, {
      ...{ clock: new SystemClock(), keeper },
      onAppended: ({ revision }) => seen.push(`appended ${revision}`),
    });
    for (const word of words(15)) await handler.execute(unwritable, 'x', word, contextOf());
    expect(seen.slice(10)).toEqual(['appended 10', 'write', ...[11, 12, 13, 14].map((n) => `appended ${n}`)]);
    expect(errors).toEqual(['keeping the state of chat chat-x: Error: too large']);
  });
});
