import { hostEvents, ms } from '@omnivisor/contracts';
import { at, thousandMoments, withoutMoment, worldThen } from '@omnivisor/eventsourcing/testing';
import type { VirtualClock } from '@omnivisor/platform/testing';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { memoryWorld, userContext } from '../core/gateway-core.fixtures.js';
import { type ComputeApp, computeApp, HOST, IMAGE } from './compute-app.fixtures.js';

const READS = [
  ['/v2.1/servers/detail?limit=3', 'member'],
  ['/v2.1/servers?all_tenants=1&sort_key=display_name&sort_dir=asc', 'admin'],
  ['/v2.1/flavors/detail', 'member'],
  ['/v2.1/os-quota-sets/p1/detail', 'admin'],
  ['/v2.1/os-keypairs', 'member'],
  ['/v2.1/os-server-groups', 'member'],
  ['/v2.1/os-hypervisors/detail', 'admin'],
  ['/v2.1/os-services?binary=nova-compute', 'admin'],
  ['/v2.1/os-availability-zone/detail', 'admin'],
  ['/v2.1/limits', 'member'],
  ['/v2.1/os-simple-tenant-usage/p1?detailed=1', 'member'],
] as const;
/** Of one server. */
const PARTS = ['', '/os-instance-actions', '/ips', '/os-interface', '/os-security-groups'];

let cloud: ComputeApp;
let then: ComputeApp;
let goTo: (position: number) => Promise<void>;
let servers: string[];

/** What becomes of the host that servers are placed on. */
const hostLife = (n: number) => {
  const host = { hostId: HOST };
  const facts = { vcpus: n, memoryMib: 4_096, diskGib: 100, node: 'compute-1', hypervisorType: 'QEMU' };
  const details = { hypervisorVersion: 7_000_000, hostIp: '127.0.0.1', cpuInfo: {}, traits: [], probes: [] };
  if (n % 4 === 1) return ['HostSessionStarted', { ...host, session: n, facts: { ...facts, ...details } }];
  if (n % 4 === 2) return ['HostDisabled', { ...host, reason: `reason ${n}` }];
  return [n % 4 === 3 ? 'HostWentDown' : 'HostEnabled', { ...host, session: n, missedBeats: 3 }];
};

/** A random life of a project. */
const live = async (choices: readonly number[]) => {
  const made: string[] = [];
  // It was let in, and taken up once.
  let hostEventsSeen = 2;
  const tellHost = async () => {
    const [type, data] = hostLife(hostEventsSeen) as [string, object];
    const event = { type, data, schemaVersion: hostEvents.events[type as 'HostEnrolled'].version };
    await cloud.core.store.append(`host-${HOST}`, hostEventsSeen++ - 1, [{ ...event, context: userContext() }]);
  };
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
    switch (choice % 10) {
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
      case 8:
        await tellHost();
        break;
      default:
        await change('/v2.1/os-server-groups', { server_group: { name: `g${n}`, policy: 'affinity' } });
    }
  }
  return made;
};

beforeAll(async () => {
  const world = memoryWorld();
  cloud = await computeApp(world);
  servers = await live(fc.sample(fc.nat(1_000), { numRuns: 150, seed: 7 }));
  const { goTo: moveTo, ...past } = worldThen(world);
  goTo = moveTo;
  then = await computeApp({ ...memoryWorld(), ...past }, false);
});
afterAll(async () => {
  await cloud.close();
  await then.close();
});

describe('asking for the past', () => {
  it('says at a thousand moments what was said then', async () => {
    for (const [n, moment] of (await thousandMoments(cloud.core.store)).entries()) {
      const [path, as] = READS[n % READS.length]!;
      await goTo(moment);
      const said = await then.call('GET', path, { as });
      const says = await cloud.call('GET', at(path, moment), { as });
      expect([moment, path, says.status, withoutMoment(says.text)]).toEqual([moment, path, said.status, said.text]);
      const part = `/v2.1/servers/${servers[n % servers.length]}${PARTS[n % PARTS.length]}`;
      const one = await then.call('GET', part, { version: '2.93' });
      const same = await cloud.call('GET', at(part, moment), { version: '2.93' });
      expect([moment, part, same.status, same.body]).toEqual([moment, part, one.status, one.body]);
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

  it('changes nothing of the past, nor of the present in its stead', async () => {
    const listed = await cloud.call('GET', '/v2.1/servers?all_tenants=1', { as: 'admin' });
    const [{ id }] = JSON.parse(listed.text).servers;
    const live = await cloud.call('GET', `/v2.1/servers/${id}`, { as: 'admin' });
    expect(live.status).toBe(200);
    const head = await cloud.core.store.head();
    expect(await cloud.call('DELETE', at(`/v2.1/servers/${id}`, head), { as: 'admin' })).toMatchObject({ status: 400 });
    expect((await cloud.call('GET', `/v2.1/servers/${id}`, { as: 'admin' })).text).toBe(live.text);
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
      '2021-02-29T00:00:00Z',
      '2020-03-01T24:00:00Z',
    ])
      expect([moment, await cloud.call('GET', at('/v2.1/servers', moment))]).toMatchObject([moment, { status: 400 }]);
    expect(await cloud.call('GET', '/v2.1/servers?at=1&at=2')).toMatchObject({ status: 400 });
    expect(await cloud.call('GET', at('/v2.1/servers', 0))).toMatchObject({ status: 200, body: { servers: [] } });
    expect(await cloud.call('GET', at('/v2.1/servers', '2020-02-29T00:00:00Z'))).toMatchObject({ status: 200 });
    expect(cloud.complaints).toEqual([]);
  });
});
