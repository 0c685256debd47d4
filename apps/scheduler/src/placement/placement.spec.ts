import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type PlacementApi, placementApi } from '../testing/placement-api.js';
import { Simulation } from '../testing/simulation.js';

const sim = new Simulation();
let api: PlacementApi;
let [host, server]: string[] = [];

beforeAll(async () => {
  const s = await sim.scheduler();
  host = await sim.host(s, 'a', { vcpus: 8, traits: ['HW_CPU_X86_AVX', 'CUSTOM_FAST'] });
  await sim.host(s, 'b', { vcpus: 2, traits: [] });
  server = await sim.server();
  await s.reserve.reserve(sim.request(server as never, { vcpus: 4 }));
  api = await placementApi(s.core);
});
afterAll(async () => {
  await api.close();
  await sim.stop();
  expect(sim.errors).toEqual([]);
});

const get = (url: string, version = '1.39', as = 'admin') => api.call('GET', url, { version, as });
const names = async (query: string, version?: string) =>
  (await get(`/resource_providers${query}`, version)).json.resource_providers
    .map((p: { name: string }) => p.name)
    .sort();

describe('resource providers', () => {
  it.each([
    ['1.0', ['self', 'inventories', 'usages'], false],
    ['1.1', ['self', 'inventories', 'usages', 'aggregates'], false],
    ['1.6', ['self', 'inventories', 'usages', 'aggregates', 'traits'], false],
    ['1.14', ['self', 'inventories', 'usages', 'aggregates', 'traits', 'allocations'], true],
  ])('look as they did at %s', async (version, rels, tree) => {
    const { json } = await get(`/resource_providers/${host}`, version);
    expect(json.links.map((l: { rel: string }) => l.rel)).toEqual(rels);
    expect(json.links[0].href).toBe(`/prefix/placement/resource_providers/${host}`);
    expect('root_provider_uuid' in json).toBe(tree);
    expect(json).toMatchObject({ uuid: host, name: 'a.example', generation: 3 });
  });
  it.each([
    ['?name=a.example', ['a.example']],
    ['?resources=VCPU:3', ['a.example']],
    ['?resources=VCPU:5', []],
    ['?required=CUSTOM_FAST', ['a.example']],
    ['?required=!CUSTOM_FAST', ['b.example']],
    ['?required=in:CUSTOM_FAST,HW_CPU_X86_AVX', ['a.example']],
    ['?member_of=11111111-1111-4111-8111-111111111111', []],
  ])('are filtered by %s', async (query, expected) => {
    expect(await names(query)).toEqual(expected);
  });
  it.each([
    ['?resources=VCPU', '1.39', 400],
    ['?resources=NONSENSE:1', '1.39', 400],
    ['?resources=VCPU:1', '1.3', 400],
    ['?required=CUSTOM_NEVER', '1.39', 400],
    ['?required=!CUSTOM_FAST', '1.21', 400],
    ['?color=red', '1.39', 400],
    ['?uuid=nonsense', '1.39', 400],
  ])('refuse %s at %s', async (query, version, status) => {
    const { status: got, json } = await get(`/resource_providers${query}`, version);
    expect(got).toBe(status);
    expect(json.errors[0]).toMatchObject({ status });
  });
  it('tell inventories, usages, traits and allocations with their generation', async () => {
    const of = async (what: string, version?: string) =>
      (await get(`/resource_providers/${host}/${what}`, version)).json;
    expect(await of('inventories')).toMatchObject({
      inventories: { VCPU: { total: 8, reserved: 0, allocation_ratio: 1 } },
      resource_provider_generation: 3,
    });
    expect(await of('inventories/VCPU')).toMatchObject({ max_unit: 8, resource_provider_generation: 3 });
    expect(await of('usages')).toMatchObject({ usages: { VCPU: 4, MEMORY_MB: 1_024, DISK_GB: 1 } });
    expect((await of('traits')).traits).toEqual(['CUSTOM_FAST', 'HW_CPU_X86_AVX']);
    expect((await of('allocations')).allocations[server!].resources).toMatchObject({ VCPU: 4 });
    expect(await of('aggregates', '1.18')).toEqual({ aggregates: [] });
    expect(await of('aggregates', '1.19')).toEqual({ aggregates: [], resource_provider_generation: 3 });
  });
  it('that do not exist are 404 in Placement’s own form', async () => {
    const { status, json } = await get(`/resource_providers/${server}`);
    expect(status).toBe(404);
    expect(json.errors[0].detail).toContain(`No resource provider with uuid ${server} found`);
  });
  it('are not for everybody', async () => {
    expect((await get('/resource_providers', '1.39', 'reader')).status).toBe(403);
    expect((await get('/resource_providers', '1.39', 'nobody')).status).toBe(401);
  });
});

describe('what is claimed', () => {
  it('is told by consumer, as each microversion knew it', async () => {
    const at = async (v: string) => (await get(`/allocations/${server}`, v)).json;
    expect(Object.keys(await at('1.0'))).toEqual(['allocations']);
    expect(await at('1.12')).toMatchObject({ project_id: 'p1', user_id: 'u1' });
    expect(await at('1.28')).toMatchObject({ consumer_generation: 1 });
    expect(await at('1.39')).toMatchObject({ consumer_type: 'INSTANCE' });
    expect((await get(`/allocations/${host}`)).json).toEqual({ allocations: {} });
  });
  it('is summed by project, also for its readers', async () => {
    expect((await get('/usages?project_id=p1', '1.9', 'reader')).json).toMatchObject({ usages: { VCPU: 4 } });
    expect((await get('/usages?project_id=p1')).json).toMatchObject({ usages: { INSTANCE: { consumer_count: 1 } } });
    expect((await get('/usages?project_id=p2', '1.9', 'reader')).status).toBe(403);
    expect((await get('/usages')).status).toBe(400);
  });
});

describe('allocation candidates', () => {
  const of = async (query: string, version?: string) => get(`/allocation_candidates${query}`, version);
  it('come in the form of their microversion', async () => {
    const old = (await of('?resources=VCPU:3', '1.10')).json;
    expect(old.allocation_requests).toEqual([
      { allocations: [{ resource_provider: { uuid: host }, resources: { VCPU: 3 } }] },
    ]);
    expect(Object.keys(old.provider_summaries[host!].resources)).toEqual(['VCPU']);
    const now = (await of('?resources=VCPU:3')).json;
    expect(now.allocation_requests).toEqual([
      { allocations: { [host!]: { resources: { VCPU: 3 } } }, mappings: { '': [host] } },
    ]);
    expect(now.provider_summaries[host!]).toMatchObject({
      resources: { VCPU: { capacity: 8, used: 4 }, MEMORY_MB: {} },
      traits: ['CUSTOM_FAST', 'HW_CPU_X86_AVX'],
      root_provider_uuid: host,
    });
  });
  it('add up granular groups, and find none that are kept apart in one tree', async () => {
    const groups = '?resources1=VCPU:2&resources2=VCPU:2&group_policy=';
    expect((await of(`${groups}none`)).json.allocation_requests).toMatchObject([
      { allocations: { [host!]: { resources: { VCPU: 4 } } }, mappings: { '1': [host], '2': [host] } },
    ]);
    expect((await of(`${groups}isolate`)).json.allocation_requests).toEqual([]);
    expect((await of('?resources1=VCPU:2&resources2=VCPU:2')).status).toBe(400);
    expect((await of('?resources1=VCPU:1', '1.24')).status).toBe(400);
  });
  it('need resources, and respect the limit', async () => {
    expect((await of('')).status).toBe(400);
    expect((await of('?resources=VCPU:1&limit=1')).json.allocation_requests).toHaveLength(1);
    expect((await of('?resources=VCPU:1', '1.9')).status).toBe(404);
  });
});

describe('the catalog', () => {
  it('lists standard and used traits and classes', async () => {
    expect((await get('/traits?name=startswith:CUSTOM_')).json).toEqual({ traits: ['CUSTOM_FAST'] });
    expect((await get('/traits?associated=true')).json.traits).toHaveLength(2);
    expect((await get('/traits/CUSTOM_FAST')).status).toBe(204);
    expect((await get('/traits/CUSTOM_SLOW')).status).toBe(404);
    expect((await get('/resource_classes')).json.resource_classes[0]).toMatchObject({ name: 'VCPU' });
    expect((await get('/resource_classes/CUSTOM_X')).status).toBe(404);
  });
  it('says from 1.15 on how old an answer is', async () => {
    expect((await get('/traits', '1.14')).headers['cache-control']).toBeUndefined();
    expect((await get('/traits', '1.15')).headers).toMatchObject({ 'cache-control': 'no-cache' });
  });
});

describe('the past', () => {
  it('is told of allocations and providers, after their release too', async () => {
    const s = await sim.scheduler();
    const past = await placementApi(s.core);
    const before = await sim.store.head();
    const [provider, consumer] = [sim.ids.uuid(), sim.ids.uuid()];
    const put = (url: string, body: object) => past.call('PUT', url, { version: '1.12', body });
    await past.call('POST', '/resource_providers', { body: { name: 'own', uuid: provider } });
    await put(`/resource_providers/${provider}/inventories`, {
      resource_provider_generation: 0,
      inventories: { VCPU: { total: 4 } },
    });
    await put(`/allocations/${consumer}`, {
      allocations: { [provider]: { resources: { VCPU: 1 } } },
      project_id: 'p1',
      user_id: 'u1',
    });
    const held = await sim.store.head();
    const read = async (url: string) => (await past.call('GET', url)).json;
    const live = await read(`/allocations/${consumer}`);
    expect(Object.keys(live.allocations)).toHaveLength(1);
    expect((await past.call('DELETE', `/allocations/${consumer}`)).status).toBe(204);
    expect(await read(`/allocations/${consumer}`)).toEqual({ allocations: {} });
    await sim.host(s, 'late');
    expect(await read(`/allocations/${consumer}?at=${held}`)).toEqual(live);
    expect(await read(`/allocations/${consumer}?at=${before}`)).toEqual({ allocations: {} });
    const named = async (query: string) =>
      (await read(`/resource_providers${query}`)).resource_providers.map((p: { name: string }) => p.name);
    expect(await named('?name=late.example')).toHaveLength(1);
    expect(await named(`?name=late.example&at=${held}`)).toEqual([]);
    expect((await past.call('GET', `/resource_providers?at=${before + 1_000}`)).status).toBe(400);
    expect((await past.call('GET', '/resource_providers?at=soon')).status).toBe(400);
    await past.close();
  });
});
