import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { jetstreamManager } from '@nats-io/jetstream';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import type { RecordedEvent } from '@omnivisor/contracts';
import { RandomIds, SystemClock } from '@omnivisor/platform/ports';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MemoryEventStore } from '../memory/index.js';
import { contextOf, newEvent } from '../testing/event-store-suite.js';
import { EventStream } from './event-stream.js';
import { Relay, RelayRefused } from './relay.js';

const clock = new SystemClock();
const ids = new RandomIds();
let server: { url: string; port: number; stop(): Promise<void>; kill(): Promise<void> };
let again: () => Promise<void>;
let dir: string;
const connections: NatsConnection[] = [];
const relays: Relay[] = [];
const errors: unknown[] = [];

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'nats-'));
  chmodSync(dir, 0o755);
  const { natsServerBinary, startNats } = await import(
    new URL('../../../../tools/services/nats.mjs', import.meta.url).href
  );
  const binary = await natsServerBinary(join(homedir(), '.cache', 'omnivisor'));
  const config = `jetstream { store_dir: "${dir}/js", sync_interval: always }`;
  server = await startNats({ dir, binary, config });
  again = async () => {
    server = await startNats({ dir, binary, config, port: server.port });
  };
});
afterAll(async () => {
  for (const relay of relays) await relay.stop();
  for (const connection of connections) await connection.close();
  await server?.stop();
  rmSync(dir, { recursive: true, force: true });
});

const connected = async () => {
  const nats = await connect({ servers: server.url, reconnectTimeWait: 50, maxReconnectAttempts: -1 });
  connections.push(nats);
  return nats;
};
const bounds = { maxAge: 3_600_000, maxBytes: 64 * 1024 * 1024 };
const relayOf = async (store: MemoryEventStore, name: string, options: { batch?: number; history?: number } = {}) => {
  const stream = new EventStream(await connected(), { name, subject: name.toLowerCase(), ...bounds });
  const relay = new Relay({ store, stream, clock, onError: (e) => errors.push(e), poll: 100 as never, ...options });
  relays.push(relay);
  return { relay, stream };
};
const logOf = async (count: number) => {
  const store = new MemoryEventStore(clock, ids);
  await grow(store, count);
  return store;
};
const grow = async (store: MemoryEventStore, count: number) => {
  for (let n = 0; n < count; n++)
    await store.append(`server-${ids.uuid()}`, -1, [newEvent('Seen', { n }, contextOf())]);
};
const until = async (condition: () => boolean | Promise<boolean>) => {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 10));
};
/** Every message from `from` on: sequence and event. */
const messages = async (name: string, from: number, to: number) => {
  const manager = await jetstreamManager(await connected());
  const found: [number, RecordedEvent][] = [];
  for (let seq = from; seq <= to; seq++) {
    const message = await manager.streams.getMessage(name, { seq });
    found.push([message!.seq, message!.json<RecordedEvent>()]);
  }
  return found;
};
const expectMirror = async (store: MemoryEventStore, name: string, from = 1) => {
  const events = await store.readAll(from - 1, 1_000_000);
  expect(await messages(name, from, events.at(-1)!.position)).toEqual(events.map((e) => [e.position, e]));
};

describe('Relay', () => {
  it('gives each event the sequence of its position, and follows the log', async () => {
    const store = await logOf(50);
    const { relay, stream } = await relayOf(store, 'FOLLOW', { batch: 7 });
    relay.start();
    await until(async () => (await stream.last()) === 50);
    await grow(store, 5);
    await until(async () => (await stream.last()) === 55);
    await expectMirror(store, 'FOLLOW');
  });

  it('publishes once and in order when several relays race and restart', async () => {
    const store = await logOf(0);
    const made = await Promise.all([0, 1, 2].map(() => relayOf(store, 'RACE', { batch: 20 })));
    const growing = grow(store, 600);
    for (let round = 0; round < 12; round++)
      for (const { relay } of made) {
        relay.start();
        await new Promise((resolve) => setImmediate(resolve));
        if ((round + made.findIndex((m) => m.relay === relay)) % 3 === 0) await relay.stop();
      }
    await growing;
    for (const { relay } of made) relay.start();
    await until(async () => (await made[0]!.stream.last()) === 600);
    await expectMirror(store, 'RACE');
  });

  it('makes a lost stream again, with the newest events at their own sequences', async () => {
    const store = await logOf(30);
    const { relay, stream } = await relayOf(store, 'LOST', { history: 10 });
    relay.start();
    await until(async () => (await stream.last()) === 30);
    await expectMirror(store, 'LOST', 21);
    await (await jetstreamManager(await connected())).streams.delete('LOST');
    await grow(store, 3);
    await until(async () => (await stream.last()) === 33);
    await expectMirror(store, 'LOST', 24);
  });

  it('goes on when NATS was killed', async () => {
    const store = await logOf(20);
    const { relay, stream } = await relayOf(store, 'KILLED');
    relay.start();
    await until(async () => (await stream.last()) === 20);
    await server.kill();
    await grow(store, 20);
    await again();
    await until(async () => (await stream.last().catch(() => 0)) === 40);
    await expectMirror(store, 'KILLED');
  });

  it('refuses a log that is behind the stream, or another one', async () => {
    const store = await logOf(10);
    const { relay, stream } = await relayOf(store, 'OTHER');
    relay.start();
    await until(async () => (await stream.last()) === 10);
    await relay.stop();
    for (const [length, text] of [
      [5, /ends at 5, but the stream at 10/],
      [12, /not the one that was published/],
    ] as const) {
      const other = await relayOf(await logOf(length), 'OTHER');
      other.relay.start();
      await until(() => other.relay.failure !== undefined);
      expect(other.relay.failure).toBeInstanceOf(RelayRefused);
      expect(other.relay.failure!.message).toMatch(text);
    }
    expect(await stream.last()).toBe(10);
  });

  it('keeps the stream within its bounds', async () => {
    const store = await logOf(5);
    const nats = await connected();
    const old = new EventStream(nats, { name: 'BOUND', subject: 'bound', ...bounds });
    await old.create(0);
    const stream = new EventStream(nats, { name: 'BOUND', subject: 'bound', maxAge: 1_000_000, maxBytes: 2_000_000 });
    const relay = new Relay({ store, stream, clock, onError: (e) => errors.push(e) });
    relays.push(relay);
    relay.start();
    await until(async () => (await stream.last()) === 5);
    const { config } = await (await jetstreamManager(nats)).streams.info('BOUND');
    expect(config).toMatchObject({ max_age: 1_000_000 * 1_000_000, max_bytes: 2_000_000, discard: 'old' });
  });
});
