import { DomainError, endpoint } from '@omnivisor/contracts';
import { afterEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { Bus } from '../ports/index.js';

export interface BusUnderTest {
  readonly name: string;
  /** Two clients of one transport. */
  open(): Promise<{ a: Bus; b: Bus; close(): Promise<void> }>;
  /** Lets what was published arrive. */
  settle(done: () => boolean): Promise<void>;
}

const echo = endpoint('echo.text', z.object({ text: z.string() }), z.object({ text: z.string() }));
const ofHost = endpoint('room.*.ask', z.object({}), z.object({ subject: z.string() }));

/** What every adapter of the `Bus` port does. */
export const describeBus = (subject: BusUnderTest): void => {
  describe(`the ${subject.name} bus`, () => {
    let close = async () => {};
    const open = async () => {
      const buses = await subject.open();
      close = buses.close;
      return buses;
    };
    afterEach(() => close());

    it('carries a request and its reply', async () => {
      const { a, b } = await open();
      await a.respond(echo, async ({ text }) => ({ text: `${text}!` }));
      expect(await b.request(echo, { text: 'héllo' })).toEqual({ text: 'héllo!' });
    });

    it('says at once that nobody answers', async () => {
      const { a } = await open();
      const error = await a.request({ ...echo, timeout: 60_000 }, { text: '' }).catch((e: unknown) => e);
      expect(error).toMatchObject({ kind: 'unavailable' });
    });

    it('gives up at the deadline', async () => {
      const { a, b } = await open();
      await a.respond(echo, () => new Promise(() => {}));
      await expect(b.request({ ...echo, timeout: 30 }, { text: '' })).rejects.toMatchObject({ kind: 'unavailable' });
    });

    it('brings a domain error back as it was thrown, without its cause', async () => {
      const { a, b } = await open();
      await a.respond(echo, async () => {
        throw new DomainError('conflict', 'taken', { cause: new Error('secret'), details: { by: 'me' } });
      });
      const error = (await b.request(echo, { text: '' }).catch((e: unknown) => e)) as DomainError;
      expect(error).toBeInstanceOf(DomainError);
      expect(error).toMatchObject({ kind: 'conflict', message: 'taken', details: { by: 'me' } });
      expect(error.cause).toBeUndefined();
    });

    it('tells nothing of an unforeseen error', async () => {
      const { a, b } = await open();
      await a.respond(echo, async () => {
        throw new Error('/secret/path');
      });
      const error = (await b.request(echo, { text: '' }).catch((e: unknown) => e)) as DomainError;
      expect(error).toMatchObject({ kind: 'unavailable' });
      expect(error.message).not.toContain('secret');
    });

    it('refuses a malformed request before the handler sees it', async () => {
      const { a, b } = await open();
      let seen = 0;
      await a.respond(echo, async () => ({ text: String(seen++) }));
      await expect(b.request(echo, { text: 7 } as never)).rejects.toMatchObject({ kind: 'invalid' });
      expect(seen).toBe(0);
    });

    it('answers wildcard subjects with the concrete one', async () => {
      const { a, b } = await open();
      await a.respond(ofHost, async (_, at) => ({ subject: at }));
      expect(await b.request(ofHost, {}, 'room.7.ask')).toEqual({ subject: 'room.7.ask' });
    });

    it('gives a message to each subscriber, and once to a queue', async () => {
      const { a, b } = await open();
      const seen: string[] = [];
      await a.subscribe('news.>', () => seen.push('a'));
      await b.subscribe('news.*', () => seen.push('b'));
      await a.subscribe('news.x', () => seen.push('queue'), { queue: 'q' });
      await b.subscribe('news.x', () => seen.push('queue'), { queue: 'q' });
      b.publish('news.x', { n: 1 });
      await subject.settle(() => seen.length >= 3);
      expect([...seen].sort()).toEqual(['a', 'b', 'queue']);
    });

    it('stops hearing when a subscription is closed', async () => {
      const { a, b } = await open();
      const subscription = await a.respond(echo, async (q) => q);
      await subscription.close();
      await expect(b.request(echo, { text: '' })).rejects.toMatchObject({ kind: 'unavailable' });
    });

    it('refuses requests after it was closed', async () => {
      const { a, b } = await open();
      await a.respond(echo, async (q) => q);
      await b.close();
      expect(b.connected()).toBe(false);
      await expect(b.request(echo, { text: '' })).rejects.toMatchObject({ kind: 'unavailable' });
    });
  });
};
