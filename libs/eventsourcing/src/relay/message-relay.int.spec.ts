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
import { MessageRelay } from './message-relay.js';
import { MessageStream } from './message-stream.js';

const clock = new SystemClock();
const ids = new RandomIds();
let server: { url: string; stop(): Promise<void> };
let dir: string;
const connections: NatsConnection[] = [];

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'nats-'));
  chmodSync(dir, 0o755);
  const { natsServerBinary, startNats } = await import(
    new URL('../../../../tools/services/nats.mjs', import.meta.url).href
  );
  const binary = await natsServerBinary(join(homedir(), '.cache', 'omnivisor'));
  server = await startNats({ dir, binary, config: `jetstream { store_dir: "${dir}/js" }` });
});
afterAll(async () => {
  for (const connection of connections) await connection.close();
  await server?.stop();
  rmSync(dir, { recursive: true, force: true });
});

const connected = async () => {
  const nats = await connect({ servers: server.url });
  connections.push(nats);
  return nats;
};
const grow = async (store: MemoryEventStore, from: number, to: number) => {
  for (let n = from; n <= to; n++)
    await store.append(`flavor-${ids.uuid()}`, -1, [newEvent('FlavorDeleted', { flavorId: String(n) }, contextOf())]);
};
/** Two messages of each third event, none of the others. */
const messagesOf = async (event: RecordedEvent) =>
  event.position % 3 === 0
    ? ['a', 'b'].map((part) => ({
        subject: 'derived.x',
        id: `${event.id}/${part}`,
        body: { of: event.position, part },
      }))
    : [];
const expected = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, i) => from + i)
    .filter((n) => n % 3 === 0)
    .flatMap((of) => ['a', 'b'].map((part) => ({ of, part })));
const until = async (condition: () => Promise<boolean>) => {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 10));
};

describe('a relay of what is made of events', () => {
  it('publishes each message once and in order, though replicas race and restart', async () => {
    const store = new MemoryEventStore(clock, ids);
    await grow(store, 1, 10);
    const options = {
      name: 'DERIVED',
      description: '',
      subjects: ['derived.>'],
      maxAge: 3_600_000,
      maxBytes: 10_000_000,
    };
    const errors: unknown[] = [];
    const relays = await Promise.all(
      [0, 1].map(async () => {
        const stream = new MessageStream(await connected(), options);
        return new MessageRelay({
          store,
          stream,
          messagesOf,
          clock,
          onError: (e) => errors.push(e),
          poll: 50 as never,
        });
      }),
    );
    const manager = await jetstreamManager(await connected());
    const last = async () => (await manager.streams.info('DERIVED').catch(() => null))?.state.last_seq ?? -1;
    for (const relay of relays) relay.start();
    // What happened before there was a stream is not told.
    await until(async () => (await last()) === 0);
    for (let round = 0; round < 6; round++) {
      await relays[round % 2]!.stop();
      await grow(store, 11 + round * 20, 30 + round * 20);
      relays[round % 2]!.start();
    }
    const wanted = expected(11, 130);
    await until(async () => (await last()) >= wanted.length);
    for (const relay of relays) await relay.stop();
    const found = [];
    for (let seq = 1; seq <= (await last()); seq++)
      found.push((await manager.streams.getMessage('DERIVED', { seq }))!.json());
    expect(found).toEqual(wanted);
    expect(errors).toEqual([]);
  });

  it('refuses a log that is behind what was told', async () => {
    const store = new MemoryEventStore(clock, ids);
    await grow(store, 1, 3);
    let failure: unknown;
    const stream = { end: async () => ({ sequence: 9, origin: { position: 7, part: 0 } }), publish: async () => true };
    const relay = new MessageRelay({ store, stream, messagesOf, clock, onError: (e) => (failure = e) });
    relay.start();
    await until(async () => failure !== undefined);
    expect(String(failure)).toMatch(/ends at 3, but the stream has a message of 7/);
    await relay.stop();
  });
});
