import { ServerId } from '@omnivisor/contracts';
import { expect, it } from 'vitest';
import { EventChannel } from './event-channel.js';

const a = ServerId.parse('0c2c7a4e-52a3-4b8e-8f4d-000000000001');
const b = ServerId.parse('0c2c7a4e-52a3-4b8e-8f4d-000000000002');

const readAll = async (events: AsyncIterable<{ serverId: ServerId }>) => {
  const seen: ServerId[] = [];
  for await (const { serverId } of events) seen.push(serverId);
  return seen;
};

it('gives what came before the first read, each server once', async () => {
  const channel = new EventChannel();
  const events = channel.subscribe(new AbortController().signal)[Symbol.asyncIterator]();
  for (const id of [a, b, a, a]) channel.publish(id);
  expect([await events.next(), await events.next()].map(({ value }) => value.serverId)).toEqual([a, b]);
  const next = events.next();
  channel.publish(a);
  expect((await next).value).toEqual({ serverId: a });
});

it('ends when its signal aborts, and when the channel closes', async () => {
  const channel = new EventChannel();
  const abort = new AbortController();
  const aborted = readAll(channel.subscribe(abort.signal));
  const closed = readAll(channel.subscribe(new AbortController().signal));
  abort.abort();
  expect(await aborted).toEqual([]);
  channel.close();
  expect(await closed).toEqual([]);
  expect(await readAll(channel.subscribe(new AbortController().signal))).toEqual([]);
});
