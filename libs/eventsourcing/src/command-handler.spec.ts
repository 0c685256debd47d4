import { conflict, event, eventSet, type Milliseconds, seconds } from '@omnivisor/contracts';
import { RandomIds, SystemClock } from '@omnivisor/platform/ports';
import { VirtualClock } from '@omnivisor/platform/testing';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { CommandHandler } from './command-handler.js';
import type { Aggregate } from './decider.js';
import { EventStoreUnavailable } from './event-store.js';
import { MemoryEventStore } from './memory/index.js';
import { contextOf, newEvent } from './testing/event-store-suite.js';

type Taken = { readonly type: 'Taken'; readonly data: { readonly by: string } };
interface Places {
  readonly taken: readonly string[];
}

/** Three places; who has one keeps it. */
const places: Aggregate<Places, string, Taken> = {
  events: eventSet({
    stream: 'places',
    writer: 'api-gateway',
    events: { Taken: event('Somebody has a place.', z.object({ by: z.string() })) },
  }),
  initial: { taken: [] },
  decide: (by, { taken }) => {
    if (taken.includes(by)) return [];
    if (taken.length >= 3) throw conflict('no place is left');
    return [{ type: 'Taken', data: { by } }];
  },
  evolve: ({ taken }, { data }) => ({ taken: [...taken, data.by] }),
};

const setup = (replicas = 2) => {
  const store = new MemoryEventStore(new SystemClock(), new RandomIds());
  const reads: [string, number | undefined][] = [];
  const readStream = store.readStream.bind(store);
  store.readStream = (stream, from) => {
    reads.push([stream, from]);
    return readStream(stream, from);
  };
  return {
    store,
    reads,
    handlers: Array.from({ length: replicas }, () => new CommandHandler(store, { clock: new SystemClock() })),
  };
};

describe('CommandHandler', () => {
  it('keeps a limit over replicas, whatever they remember', async () => {
    const { store, handlers } = setup(4);
    const outcomes = await Promise.allSettled(
      Array.from({ length: 40 }, (_, n) => handlers[n % 4]!.execute(places, 'x', `u${n}`, contextOf())),
    );
    expect(outcomes.filter((o) => o.status === 'fulfilled')).toHaveLength(3);
    for (const o of outcomes) if (o.status === 'rejected') expect(o.reason).toMatchObject({ kind: 'conflict' });
    expect(await store.readStream('places-x')).toHaveLength(3);
  });

  it.each([
    ['a type', { ...newEvent('PlaceGivenBack', { by: 'a' }) }],
    ['a version', { ...newEvent('Taken', { by: 'b' }), schemaVersion: 2 }],
  ])('decides nothing on a stream that has %s of a newer release, and goes on with others', async (_, later) => {
    const { store, handlers } = setup();
    await handlers[0]!.execute(places, 'x', 'a', contextOf());
    await store.append('places-x', 0, [later]);
    for (const handler of handlers) {
      await expect(handler.execute(places, 'x', 'b', contextOf())).rejects.toMatchObject({
        kind: 'unavailable',
        cause: { name: 'UnknownEvent' },
      });
      await expect(handler.load(places, 'x')).rejects.toMatchObject({ kind: 'unavailable' });
    }
    expect(await store.readStream('places-x')).toHaveLength(2);
    expect(await handlers[0]!.execute(places, 'y', 'a', contextOf())).toMatchObject({ revision: 0 });
  });

  it('gives state, revision, position and events of the command', async () => {
    const { handlers } = setup();
    await handlers[0]!.execute(places, 'y', 'a', contextOf());
    const outcome = await handlers[1]!.execute(places, 'x', 'a', contextOf());
    expect(outcome).toMatchObject({ state: { taken: ['a'] }, revision: 0, position: 2, events: [{ type: 'Taken' }] });
    const again = await handlers[0]!.execute(places, 'x', 'a', contextOf());
    expect(again).toMatchObject({ revision: 0, position: 0, events: [] });
  });

  it('goes on from what it has after a conflict', async () => {
    const { handlers, reads } = setup();
    const [a, b] = handlers as [CommandHandler, CommandHandler];
    await a.execute(places, 'x', 'a', contextOf());
    await b.execute(places, 'x', 'b', contextOf());
    reads.length = 0;
    await a.execute(places, 'x', 'c', contextOf());
    expect(reads).toEqual([['places-x', 1]]);
    expect(await b.load(places, 'x')).toEqual({ taken: ['a', 'b', 'c'] });
  });

  it('refuses on the log as it is, not on what it remembers', async () => {
    const { handlers } = setup();
    const [a, b] = handlers as [CommandHandler, CommandHandler];
    const once: Aggregate<{ open: boolean }, 'open' | 'close' | 'use', { type: string; data: object }> = {
      events: eventSet({
        stream: 'door',
        writer: 'api-gateway',
        events: { open: event('', z.object()), close: event('', z.object()), use: event('', z.object()) },
      }),
      initial: { open: false },
      decide: (command, { open }) => {
        if (command === 'use' && !open) throw conflict('closed');
        return [{ type: command, data: {} }];
      },
      evolve: (state, { type }) => (type === 'use' ? state : { open: type === 'open' }),
    };
    await a.execute(once, 'x', 'close', contextOf());
    await b.execute(once, 'x', 'open', contextOf());
    expect(await a.execute(once, 'x', 'use', contextOf())).toMatchObject({ revision: 2 });
  });

  it('gives the first result again when a command of unknown outcome is sent again', async () => {
    const { store, handlers } = setup(1);
    const append = store.appendEach.bind(store);
    store.appendEach = async (...args) => {
      await append(...args);
      throw new EventStoreUnavailable('lost');
    };
    const context = contextOf();
    const always: typeof places = { ...places, decide: (by) => [{ type: 'Taken', data: { by } }] };
    const lost = handlers[0]!.execute(always, 'x', 'a', context);
    await expect(lost).rejects.toBeInstanceOf(EventStoreUnavailable);
    // Clients are told to come again, not that something is broken.
    await expect(lost).rejects.toMatchObject({ kind: 'unavailable' });
    store.appendEach = append;
    expect(await handlers[0]!.execute(always, 'x', 'a', context)).toMatchObject({ revision: 0, position: 1 });
    expect(await store.readStream('places-x')).toHaveLength(1);
  });

  it('sends commands that wait for one stream together, and answers each for itself', async () => {
    const { store, handlers } = setup(1);
    const batches: number[] = [];
    const { appendEach } = store;
    store.appendEach = (stream, expected, commands) => {
      batches.push(commands.length);
      return appendEach.call(store, stream, expected, commands);
    };
    const outcomes = await Promise.allSettled(
      ['a', 'a', 'b', 'c', 'd'].map((by) => handlers[0]!.execute(places, 'x', by, contextOf())),
    );
    expect(batches).toEqual([3]);
    expect(outcomes.map((o) => (o.status === 'fulfilled' ? o.value.revision : o.reason.message))).toEqual([
      0,
      0,
      1,
      2,
      'no place is left',
    ]);
  });

  it('decides again what waited behind a command that another process beat', async () => {
    const { store, handlers } = setup();
    const [a, b] = handlers as [CommandHandler, CommandHandler];
    await a.execute(places, 'x', 'a', contextOf());
    await b.execute(places, 'x', 'b', contextOf());
    const outcomes = await Promise.allSettled(['c', 'd'].map((by) => a.execute(places, 'x', by, contextOf())));
    expect(outcomes.map((o) => o.status)).toEqual(['fulfilled', 'rejected']);
    expect((await store.readStream('places-x')).map((e) => (e as unknown as Taken).data.by)).toEqual(['a', 'b', 'c']);
  });

  it('does not let one command that the store refuses take those beside it with it', async () => {
    const { handlers } = setup(1);
    const long = 'x'.repeat(70_000);
    const outcomes = await Promise.allSettled(
      ['a', long, 'b'].map((by) => handlers[0]!.execute(places, 'x', by, contextOf())),
    );
    expect(outcomes.map((o) => o.status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  });

  describe('with a store that hangs', () => {
    const hanging = (options: { waiting?: number; patience?: Milliseconds } = {}) => {
      const { store } = setup(0);
      const clock = new VirtualClock();
      const handler = new CommandHandler(store, { clock, ...options });
      const { appendEach } = store;
      let release = () => {};
      const gate = new Promise<void>((resolve) => {
        release = resolve;
      });
      store.appendEach = async (...args) => {
        await gate;
        return appendEach.apply(store, args);
      };
      const send = (by: string, key = 'x') => handler.execute(places, key, by, contextOf());
      return { store, clock, send, release };
    };

    it('lets so many commands wait for a stream, and refuses more with "unavailable"', async () => {
      const { send, release, store } = hanging({ waiting: 2 });
      const first = send('a');
      await Promise.resolve();
      const waiting = [send('b'), send('c')];
      await expect(send('d')).rejects.toMatchObject({ kind: 'unavailable' });
      const elsewhere = send('d', 'y');
      release();
      await Promise.all([first, ...waiting, elsewhere]);
      expect(await store.readStream('places-x')).toHaveLength(3);
    });

    it('refuses what has waited too long with "unavailable", and does not carry it out later', async () => {
      const { clock, send, release, store } = hanging({ patience: seconds(5) });
      const first = send('a');
      await Promise.resolve();
      const second = expect(send('b')).rejects.toMatchObject({ kind: 'unavailable' });
      await clock.advance(seconds(3));
      const third = send('c');
      await clock.advance(seconds(2));
      await second;
      release();
      expect(await first).toMatchObject({ revision: 0 });
      expect(await third).toMatchObject({ state: { taken: ['a', 'c'] } });
      expect(await store.readStream('places-x')).toHaveLength(2);
    });
  });

  it('follows a log that was restored to an earlier state', async () => {
    const { handlers } = setup(1);
    await handlers[0]!.execute(places, 'x', 'a', contextOf());
    const restored = new MemoryEventStore(new SystemClock(), new RandomIds());
    Object.assign(handlers[0]!, { store: restored });
    expect(await handlers[0]!.execute(places, 'x', 'b', contextOf())).toMatchObject({ state: { taken: ['b'] } });
  });
});
