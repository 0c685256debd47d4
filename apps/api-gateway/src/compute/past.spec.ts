import { ms, type Position } from '@omnivisor/contracts';
import type { EventStore } from '@omnivisor/eventsourcing';
import type { VirtualClock } from '@omnivisor/platform/testing';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { memoryWorld } from '../core/gateway-core.fixtures.js';
import { type ComputeApp, computeApp, IMAGE } from './compute-app.fixtures.js';

const READS = [
  ['/v2.1/servers/detail?limit=3', 'member'],
  ['/v2.1/servers?all_tenants=1&sort_key=display_name&sort_dir=asc', 'admin'],
  ['/v2.1/flavors/detail', 'member'],
  ['/v2.1/os-quota-sets/p1/detail', 'admin'],
  ['/v2.1/os-keypairs', 'member'],
  ['/v2.1/os-server-groups', 'member'],
] as const;

/** A log of which only the beginning is known. */
const beginningOf = (store: EventStore, until: () => Position): EventStore => ({
  ...store,
  append: () => Promise.reject(new Error('the past is not changed')),
  readStream: async (stream, from) => (await store.readStream(stream, from)).filter((e) => e.position <= until()),
  readAll: async (after, limit) => (await store.readAll(after, limit)).filter((e) => e.position <= until()),
  readStored: async (after, limit) => (await store.readStored(after, limit)).filter((e) => e.position <= until()),
  head: async () => until(),
  subscribe: () => () => {},
  close: async () => {},
});

let cloud: ComputeApp;
let then: ComputeApp;
let known: Position = 0;
let servers: string[];

/** A random life of a project. */
const live = async (choices: readonly number[]) => {
  const made: string[] = [];
  const create = async (n: number) => {
    const server = { name: `s${n}`, imageRef: IMAGE, flavorRef: '1', networks: 'none', metadata: { n: String(n) } };
    const answer = await cloud.call('POST', '/v2.1/servers', { version: '2.37', body: { server } });
    const { id } = (answer.body as { server: { id: string } }).server;
    made.push(id);
    if (n % 3 > 0) await cloud.activate(id);
  };
  for (const [n, choice] of choices.entries()) {
    (cloud.core.clock as VirtualClock).advance(ms(1_500));
    const id = made[choice % Math.max(1, made.length)] ?? '';
    const change = (path: string, body: unknown, method = 'POST', as: 'member' | 'admin' = 'member') =>
      cloud.call(method, path, { as, body, version: '2.90' });
    switch (choice % 9) {
      case 0:
      case 1:
        await create(n);
        break;
      case 2:
        await change(`/v2.1/servers/${id}`, { server: { name: `renamed-${n}` } }, 'PUT');
        break;
      case 3:
        await change(`/v2.1/servers/${id}/metadata`, { metadata: { [`k${n}`]: 'v' } });
        break;
      case 4:
        await change(`/v2.1/servers/${id}/action`, { 'os-stop': null });
        break;
      case 5:
        await cloud.call('DELETE', `/v2.1/servers/${id}`);
        break;
      case 6:
        await change('/v2.1/flavors', { flavor: { name: `f${n}`, vcpus: 1, ram: 64, disk: 1 } }, 'POST', 'admin');
        break;
      case 7:
        await change('/v2.1/os-quota-sets/p1', { quota_set: { instances: 50 + n } }, 'PUT', 'admin');
        break;
      default:
        await change('/v2.1/os-server-groups', { server_group: { name: `g${n}`, policy: 'affinity' } });
    }
  }
  return made;
};

beforeAll(async () => {
  cloud = await computeApp();
  servers = await live(fc.sample(fc.nat(1_000), { numRuns: 120, seed: 7 }));
  then = await computeApp({
    ...memoryWorld(),
    clock: cloud.core.clock as VirtualClock,
    store: beginningOf(cloud.core.store, () => known) as never,
  });
});
afterAll(async () => {
  await cloud.close();
  await then.close();
});

const at = (path: string, moment: string | number) =>
  `${path}${path.includes('?') ? '&' : '?'}at=${encodeURIComponent(moment)}`;
/** Links repeat the query of their own request. */
const withoutMoment = (text: string) => text.replace(/[?&]at=\d+/g, '');

describe('asking for the past', () => {
  it('says at a thousand moments what was said then', async () => {
    const head = await cloud.core.store.head();
    const moments = fc.sample(fc.integer({ min: 1, max: head }), { numRuns: 1_000, seed: 11 }).sort((a, b) => a - b);
    for (const moment of moments) {
      const [path, as] = READS[moment % READS.length]!;
      known = moment;
      const said = await then.call('GET', path, { as });
      const says = await cloud.call('GET', at(path, moment), { as });
      expect([moment, path, says.status, withoutMoment(says.text)]).toEqual([moment, path, said.status, said.text]);
      const id = servers[moment % servers.length]!;
      const one = await then.call('GET', `/v2.1/servers/${id}`, { version: '2.93' });
      const same = await cloud.call('GET', at(`/v2.1/servers/${id}`, moment), { version: '2.93' });
      expect([moment, id, same.status, same.body]).toEqual([moment, id, one.status, one.body]);
    }
  }, 120_000);

  it('takes a time, and shows what was deleted since', async () => {
    const created = await cloud.call('POST', '/v2.1/servers', {
      version: '2.37',
      body: { server: { name: 'short', imageRef: IMAGE, flavorRef: '1', networks: 'none' } },
    });
    const { id } = (created.body as { server: { id: string } }).server;
    const before = cloud.core.clock.now();
    await (cloud.core.clock as VirtualClock).advance(ms(10_000));
    await cloud.call('DELETE', `/v2.1/servers/${id}`);
    expect(await cloud.call('GET', `/v2.1/servers/${id}`)).toMatchObject({ status: 404 });
    const past = await cloud.call('GET', at(`/v2.1/servers/${id}`, before));
    expect(past).toMatchObject({ status: 200, body: { server: { id, name: 'short', status: 'BUILD' } } });
    expect(await cloud.call('GET', at(`/v2.1/servers/${id}`, before), { as: 'other' })).toMatchObject({ status: 404 });
    const withOffset = before.replace('Z', '+00:00');
    expect(await cloud.call('GET', at(`/v2.1/servers/${id}`, withOffset))).toMatchObject({ status: 200 });
  });

  it('refuses what is no moment', async () => {
    const head = await cloud.core.store.head();
    for (const moment of [
      'yesterday',
      '',
      '-1',
      String(head + 1),
      '1e3',
      '2999-01-01T00:00:00Z',
      '2020-13-01T00:00:00Z',
    ])
      expect([moment, await cloud.call('GET', at('/v2.1/servers', moment))]).toMatchObject([moment, { status: 400 }]);
    expect(await cloud.call('GET', '/v2.1/servers?at=1&at=2')).toMatchObject({ status: 400 });
    expect(await cloud.call('GET', at('/v2.1/servers', 0))).toMatchObject({ status: 200, body: { servers: [] } });
    expect(cloud.complaints).toEqual([]);
  });
});
