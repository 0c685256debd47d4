import { describe, expect, it } from 'vitest';
import { type Taker, type TurnBounds, Turns } from './turns.js';

/** Works that end when they are told to, and the order in which they began. */
const workshop = (bounds: TurnBounds) => {
  const turns = new Turns(bounds);
  const begun: string[] = [];
  const ends = new Map<string, () => void>();
  return {
    turns,
    begun,
    take: (name: string, taker: Taker) =>
      turns.take(taker, () => {
        begun.push(name);
        return new Promise<void>((resolve) => ends.set(name, resolve));
      }),
    end: async (name: string) => {
      ends.get(name)!();
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
};

describe('turns', () => {
  it('go round among their owners', async () => {
    const shop = workshop({ width: 1, room: 8 });
    const works = ['a1', 'a2', 'a3', 'b1', 'c1'].map((name) => shop.take(name, { of: name[0]! }));
    for (const name of ['a1', 'b1', 'c1', 'a2', 'a3']) await shop.end(name);
    await Promise.all(works);
    expect(shop.begun).toEqual(['a1', 'b1', 'c1', 'a2', 'a3']);
  });
  it('are given first to those that go first, who have one that nobody else takes', async () => {
    const shop = workshop({ width: 1, reserved: 1, room: 8 });
    const works = [
      ...['a1', 'a2'].map((name) => shop.take(name, { of: 'a' })),
      ...['h1', 'h2'].map((name) => shop.take(name, { of: 'a', first: true })),
    ];
    expect(shop.begun).toEqual(['a1', 'h1']);
    await shop.end('a1');
    expect(shop.begun).toEqual(['a1', 'h1', 'h2']);
    await shop.end('h1');
    expect(shop.begun).toEqual(['a1', 'h1', 'h2', 'a2']);
    await shop.end('h2');
    await shop.end('a2');
    await Promise.all(works);
  });
  it('are given at once to one that goes first from now on', async () => {
    const shop = workshop({ width: 1, reserved: 1, room: 8 });
    const first = shop.take('a', { of: 'a' });
    const taker: Taker = { of: 'b' };
    const second = shop.take('b', taker);
    expect(shop.begun).toEqual(['a']);
    taker.first = true;
    shop.turns.hurry();
    await shop.end('a');
    await shop.end('b');
    await Promise.all([first, second]);
  });
  it('leave some to others, whoever came first', async () => {
    const shop = workshop({ width: 4, share: 2, room: 8 });
    const works = ['a1', 'a2', 'a3', 'b1'].map((name) => shop.take(name, { of: name[0]! }));
    expect(shop.begun).toEqual(['a1', 'a2', 'b1']);
    await shop.end('b1');
    expect(shop.begun).toEqual(['a1', 'a2', 'b1']);
    await shop.end('a1');
    await shop.end('a2');
    await shop.end('a3');
    await Promise.all(works);
  });
  it('are for one owner as many as it leaves for others, however many those are', async () => {
    const shop = workshop({ width: 8, leaving: true, room: 8 });
    const works = [...'aaaaabbbccd'].map((of, i) => shop.take(`${of}${i}`, { of }));
    expect(shop.begun.map((name) => name[0]).join('')).toBe('aaaabbcd');
    await shop.end('b5');
    expect(shop.begun).toHaveLength(8);
    works.push(shop.take('e', { of: 'e' }));
    expect(shop.begun).toHaveLength(9);
    for (let ended = 0; ended < shop.begun.length; ended++) await shop.end(shop.begun[ended]!);
    await Promise.all(works);
  });
  it('are given at once or not at all to one that cannot wait', () => {
    const { turns } = workshop({ width: 2, leaving: true, room: 8 });
    const giveBack = turns.takeNow({ of: 'a' });
    expect(turns.takeNow({ of: 'a' })).toBeNull();
    expect(turns.takeNow({ of: 'b' })).toBeTypeOf('function');
    giveBack!();
    expect(turns.takeNow({ of: 'a' })).toBeTypeOf('function');
  });
  it('are waited for by a few of each owner, and more are sent away', async () => {
    const shop = workshop({ width: 1, room: 1 });
    const works = ['a1', 'a2'].map((name) => shop.take(name, { of: 'a' }));
    await expect(shop.take('a3', { of: 'a' })).rejects.toMatchObject({ kind: 'unavailable' });
    works.push(shop.take('b1', { of: 'b' }));
    for (const name of ['a1', 'b1', 'a2']) await shop.end(name);
    await Promise.all(works);
  });
  it('are no longer waited for by one that was told to stop', async () => {
    const shop = workshop({ width: 1, room: 8 });
    const works = [shop.take('a1', { of: 'a' })];
    const ending = new AbortController();
    const given = shop.take('b1', { of: 'b', signal: ending.signal });
    works.push(shop.take('c1', { of: 'c' }));
    ending.abort(new Error('nobody wants it'));
    await expect(given).rejects.toThrow('nobody wants it');
    await expect(shop.take('b2', { of: 'b', signal: ending.signal })).rejects.toThrow('nobody wants it');
    for (const name of ['a1', 'c1']) await shop.end(name);
    await Promise.all(works);
    expect(shop.begun).toEqual(['a1', 'c1']);
  });
});
