import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EventStoreUnavailable } from '../event-store.js';
import { contextOf, describeEventStore, newEvent } from '../testing/event-store-suite.js';
import { type KurrentDouble, startKurrentDouble } from '../testing/kurrentdb-double.js';
import { KurrentEventStore } from './kurrentdb-event-store.js';

describeEventStore('KurrentDB (double)', async () => {
  const double = await startKurrentDouble();
  return {
    open: async () => new KurrentEventStore({ url: double.url }),
    contiguous: false,
    close: () => double.stop(),
  };
});

const real = process.env.KURRENTDB_URL;
if (real)
  describeEventStore('KurrentDB (real)', async () => ({
    open: async () => new KurrentEventStore({ url: real }),
    contiguous: false,
    close: async () => {},
  }));

describe('KurrentDB adapter', () => {
  let double: KurrentDouble;
  const opened: KurrentEventStore[] = [];
  const open = (retryFor: number) => {
    const store = new KurrentEventStore({ url: double.url, retryFor });
    opened.push(store);
    return store;
  };
  beforeAll(async () => {
    double = await startKurrentDouble();
  });
  afterAll(async () => {
    for (const store of opened) await store.close();
    await double?.stop();
  });

  it('shows no event of the server itself', async () => {
    const store = open(2_000);
    expect(await store.head()).toBe(0);
    expect(await store.readAll(0, 10)).toEqual([]);
  });

  it('reads and appends again after the server was away, also when the first read met its absence', async () => {
    const old = open(100);
    const context = contextOf();
    await old.append('test-a', -1, [newEvent('A', {}, context)]);
    await double.stop();
    const fresh = open(100);
    await expect(fresh.readStream('test-a')).rejects.toBeInstanceOf(EventStoreUnavailable);
    await expect(old.append('test-a', 0, [newEvent('B')])).rejects.toBeInstanceOf(EventStoreUnavailable);
    await expect(old.head()).rejects.toBeInstanceOf(EventStoreUnavailable);
    await double.start();
    for (const store of [old, fresh]) {
      expect(await store.readStream('test-a')).toHaveLength(1);
      expect(await store.append('test-a', -1, [newEvent('A', {}, context)])).toMatchObject({ duplicate: true });
    }
    expect(await fresh.append('test-a', 0, [newEvent('B')])).toMatchObject({ revision: 1, duplicate: false });
  });
});
