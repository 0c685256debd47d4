import { type EventSet, event, eventSet, type Milliseconds, NO_STREAM } from '@omnivisor/contracts';
import { RandomIds } from '@omnivisor/platform/ports';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { migrate, PostgresEventStore } from '../postgres/index.js';
import { newSeed, PostgresSealStore, Sealer, signerOf, verifyLog } from '../seal/index.js';
import { contextOf, newEvent } from '../testing/event-store-suite.js';
import { startTestPostgres, type TestPostgres } from '../testing/index.js';
import { masterKeys, PostgresVault } from '../vault/index.js';
import { dumpDatabase } from './dump.js';
import { type Loaded, loadDatabase, type UpTo } from './load.js';
import type { Lines } from './rows.js';

const signer = signerOf('cloud.example/log', newSeed());
const things = eventSet({
  stream: 'thing',
  writer: 'api-gateway',
  events: { Happened: event('It happened.', z.object({ n: z.number() })) },
}) as unknown as EventSet;
const EVENTS = 700;

let server: TestPostgres;
const closes: { close(): Promise<void> }[] = [];
const keep = <T extends { close(): Promise<void> }>(one: T): T => {
  closes.push(one);
  return one;
};

/** A database with a log, and what is needed of it. */
const place = async () => {
  const owner = await server.database();
  const role = { service: 'api-gateway', role: 'keeping_gateway', password: 'x', schema: 'gateway' };
  await migrate(owner, [role], [things]);
  const service = server.as(owner, role.role, role.password);
  const store = keep(new PostgresEventStore({ url: service, ids: new RandomIds() }));
  const seals = keep(new PostgresSealStore(owner));
  const vault = keep(new PostgresVault({ url: service, schema: 'gateway', keys: masterKeys('01'.repeat(32)) }));
  return { owner, service, store, seals, vault };
};
type Place = Awaited<ReturnType<typeof place>>;

const append = (store: PostgresEventStore, from: number, events: number) =>
  store.append(
    `thing-${from}`,
    NO_STREAM,
    Array.from({ length: events }, (_, i) => newEvent('Happened', { n: from + i }, contextOf(`c${from}`))),
  );
const seal = async ({ store, seals }: Place) => {
  const errors: unknown[] = [];
  const sealer = new Sealer({
    store,
    seals,
    origin: 'cloud.example/log',
    signers: async () => [signer],
    clock: { after: (_: Milliseconds) => () => {} },
    sealed: () => {},
    onError: (error) => errors.push(error),
  });
  sealer.start();
  await sealer.stop();
  expect(errors).toEqual([]);
};
const verify = ({ store, seals }: Place, outside: string[] = []) =>
  verifyLog({ store, seals, keys: [signer.verifier] }, outside);

let first: Place;
let secret: string;
beforeAll(async () => {
  server = await startTestPostgres();
  first = await place();
  await first.vault.prepare();
  secret = (await first.vault.put('key', 'of a box')).ref;
  // Commands of 1, 2, 3, 1, 2, 3, … events, with seals between.
  for (let position = 0, n = 0; position < EVENTS; n++) {
    const size = Math.min((n % 3) + 1, EVENTS - position);
    await append(first.store, position, size);
    position += size;
    if (n % 50 === 49) await seal(first);
  }
  await seal(first);
}, 60_000);
afterAll(async () => {
  for (const one of closes) await one.close();
  await server?.stop();
});

async function* each<T>(list: readonly T[]) {
  yield* list;
}
const all = async <T>(rows: AsyncIterable<T>): Promise<T[]> => {
  const list: T[] = [];
  for await (const row of rows) list.push(row);
  return list;
};
/** A backup of the first place, and the place it is put into. */
const restored = async (upTo?: UpTo, change: (lines: Lines) => Lines = (lines) => lines) => {
  const second = await place();
  let loaded: Loaded | undefined;
  await dumpDatabase(first.service, 'gateway', async (lines) => {
    const { owner, service } = second;
    loaded = await loadDatabase(change(lines), { owner, service, schema: 'gateway', ...(upTo ? { upTo } : {}) });
  });
  return { ...second, loaded: loaded! };
};

describe('a backup of log, seals and vault', () => {
  it('is the same when it is restored, and goes on', async () => {
    const second = await restored();
    expect(second.loaded).toMatchObject({ position: EVENTS, cut: 0, secrets: 1 });
    expect(await second.store.readStored(0, 1_000)).toEqual(await first.store.readStored(0, 1_000));
    expect((await second.vault.get(secret)).toString()).toBe('of a box');
    expect(await verify(second)).toMatchObject({ ok: true, events: EVENTS, unsealed: 0 });
    expect(await append(second.store, 0, 1)).toMatchObject({ duplicate: true, position: 1 });
    expect(await append(second.store, 9_000, 2)).toMatchObject({ position: EVENTS + 2 });
    await seal(second);
    expect(await verify(second)).toMatchObject({ ok: true, events: EVENTS + 2 });
  });

  it.each([1, 255, 512, 699])('ends with the last whole command up to position %i', async (position) => {
    const second = await restored({ position });
    const { loaded } = second;
    expect(loaded.position).toBeGreaterThan(position - 3);
    expect(loaded.position).toBeLessThanOrEqual(position);
    expect(loaded.position + loaded.cut).toBe(EVENTS);
    const events = await second.store.readStored(0, 1_000);
    expect(events).toEqual((await first.store.readStored(0, 1_000)).slice(0, loaded.position));
    const next = (await first.store.readStored(loaded.position, 1))[0]!;
    expect(next.revision).toBe(0);
    expect((await verify(second)).ok).toBe(true);

    // It goes on as another log, which the checkpoint that had left tells from this one.
    await append(second.store, 9_000, 3);
    await append(second.store, 9_100, EVENTS);
    await seal(second);
    expect((await verify(second)).ok).toBe(true);
    const { note } = (await first.seals.latest())!;
    expect(await verify(second, [note])).toMatchObject({ ok: false });
  });

  it('ends with what had happened at a time', async () => {
    const [event] = await first.store.readStored(399, 1);
    const second = await restored({ time: Date.parse(event!.recordedAt) });
    expect(second.loaded.recordedAt).toBe(event!.recordedAt);
    const left = await first.store.readStored(second.loaded.position, 1);
    expect(Date.parse(left[0]!.recordedAt)).toBeGreaterThan(Date.parse(event!.recordedAt));
  });

  it('is refused when it has a hole, is not as long as was asked for, or meets a log', async () => {
    const hole = (lines: Lines): Lines => ({
      ...lines,
      events: (async function* () {
        const events = await all(lines.events);
        yield* each(events.filter(({ position }) => position !== 17));
      })(),
    });
    await expect(restored(undefined, hole)).rejects.toMatchObject({ message: /no event at position 17/ });
    await expect(restored({ position: EVENTS + 1 })).rejects.toMatchObject({
      message: `the backup ends at position ${EVENTS}`,
    });
    await expect(restored({ time: 0 })).rejects.toMatchObject({ message: /no event that is as old/ });
    const { owner, service } = await restored();
    await expect(
      dumpDatabase(first.service, 'gateway', async (lines) => {
        await loadDatabase(lines, { owner, service, schema: 'gateway' });
      }),
    ).rejects.toMatchObject({ message: 'the database has a log already' });
  });

  it('is of one moment, whatever happens meanwhile', async () => {
    await dumpDatabase(first.service, 'gateway', async (lines) => {
      const before = (await all(lines.checkpoints)).length;
      await append(first.store, 50_000, 1);
      expect(await all(lines.events)).toHaveLength(EVENTS);
      expect(before).toBeGreaterThan(1);
    });
  });
});
