import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Scheduler } from '../scheduler.js';
import { type PlacementApi, placementApi } from '../testing/placement-api.js';
import { Simulation } from '../testing/simulation.js';

const sim = new Simulation();
let scheduler: Scheduler;
let api: PlacementApi;
let host: string;
beforeAll(async () => {
  scheduler = await sim.scheduler();
  host = await sim.host(scheduler, 'a', { vcpus: 8, traits: ['HW_CPU_X86_AVX'] });
  api = await placementApi(scheduler.core);
});
afterAll(async () => {
  await api.close();
  await sim.stop();
  expect(sim.errors).toEqual([]);
});

const uuid = () => sim.ids.uuid();
const call: PlacementApi['call'] = (...args) => api.call(...args);
const put = (url: string, body?: unknown, version = '1.39') => call('PUT', url, { body, version });
const post = (url: string, body?: unknown, version = '1.39') => call('POST', url, { body, version });
const get = async (url: string, version = '1.39') => (await call('GET', url, { version })).json;

const provider = async (vcpus = 0) => {
  const id = uuid();
  await post('/resource_providers', { name: id, uuid: id });
  if (vcpus > 0) await post(`/resource_providers/${id}/inventories`, { resource_class: 'VCPU', total: vcpus });
  return id;
};
const consumes = (id: string, vcpus: number, more: object) => ({
  allocations: { [id]: { resources: { VCPU: vcpus } } },
  project_id: 'p1',
  user_id: 'u1',
  ...more,
});

describe('a provider that a client registers', () => {
  it('is answered as each microversion did', async () => {
    const old = await post('/resource_providers', { name: 'old' }, '1.19');
    expect([old.status, old.json]).toEqual([201, undefined]);
    expect(old.headers.location).toMatch(
      /^http:\/\/cloud\.example\/prefix\/placement\/resource_providers\/[0-9a-f-]{36}$/,
    );
    const parent = await provider();
    const body = { name: 'new', uuid: uuid().replaceAll('-', ''), parent_provider_uuid: parent };
    expect(await post('/resource_providers', body, '1.13')).toMatchObject({ status: 400 });
    expect(await post('/resource_providers', body)).toMatchObject({
      status: 200,
      json: { name: 'new', generation: 0, parent_provider_uuid: parent, root_provider_uuid: parent },
    });
    expect(await post('/resource_providers', body)).toMatchObject({
      status: 409,
      json: { errors: [{ code: 'placement.duplicate_name' }] },
    });
    expect((await get(`/resource_providers?in_tree=${parent}`)).resource_providers).toHaveLength(2);
    expect((await call('DELETE', `/resource_providers/${parent}`)).json.errors[0].code).toBe(
      'placement.resource_provider.cannot_delete_parent',
    );
  });
  it('offers inventories, one by one or all at once, on the state that the client knows', async () => {
    const id = await provider();
    const all = `/resource_providers/${id}/inventories`;
    const first = await post(all, { resource_class: 'VCPU', total: 8 });
    expect(first).toMatchObject({ status: 201, json: { max_unit: 2_147_483_647, resource_provider_generation: 1 } });
    expect(first.headers.location).toMatch(/inventories\/VCPU$/);
    expect(await post(all, { resource_class: 'VCPU', total: 8 })).toMatchObject({ status: 409 });
    const change = { total: 4, reserved: 4, resource_provider_generation: 1 };
    expect(await put(`${all}/VCPU`, change, '1.25')).toMatchObject({ status: 400 });
    expect(await put(`${all}/VCPU`, change)).toMatchObject({ status: 200, json: { resource_provider_generation: 2 } });
    expect(await put(`${all}/VCPU`, change)).toMatchObject({ status: 409 });
    expect(await put(`${all}/DISK_GB`, { ...change, resource_provider_generation: 2 })).toMatchObject({ status: 400 });
    const wish = { resource_provider_generation: 2, inventories: { DISK_GB: { total: 9 } } };
    expect((await put(all, wish)).json.inventories).toEqual({ DISK_GB: expect.objectContaining({ total: 9 }) });
    expect(await call('DELETE', `${all}/DISK_GB`)).toMatchObject({ status: 204 });
    expect(await call('DELETE', `${all}/DISK_GB`)).toMatchObject({ status: 404 });
    expect(await call('DELETE', all, { version: '1.4' })).toMatchObject({ status: 404 });
    expect(await call('DELETE', all, { version: '1.5' })).toMatchObject({ status: 204 });
  });
  it('bears traits and aggregates', async () => {
    const id = await provider();
    expect(await put('/traits/custom_a')).toMatchObject({ status: 400 });
    expect([(await put('/traits/CUSTOM_A')).status, (await put('/traits/CUSTOM_A')).status]).toEqual([201, 204]);
    const traits = (generation: number, ...names: string[]) =>
      put(`/resource_providers/${id}/traits`, { traits: names, resource_provider_generation: generation });
    expect((await traits(0, 'CUSTOM_NEVER')).json.errors[0].detail).toContain('No such trait CUSTOM_NEVER');
    expect((await traits(0, 'CUSTOM_A')).json).toEqual({ traits: ['CUSTOM_A'], resource_provider_generation: 1 });
    expect((await traits(0)).status).toBe(409);
    const aggregate = uuid().replaceAll('-', '');
    const aggregates = `/resource_providers/${id}/aggregates`;
    expect((await put(aggregates, [aggregate], '1.18')).json).toEqual({ aggregates: [aggregate] });
    const body = { aggregates: [], resource_provider_generation: 1 };
    expect((await put(aggregates, body)).json).toEqual({ aggregates: [], resource_provider_generation: 2 });
    expect((await call('DELETE', `/resource_providers/${id}/traits`)).status).toBe(204);
    expect((await call('DELETE', '/traits/CUSTOM_A')).status).toBe(204);
    expect((await call('DELETE', '/traits/CUSTOM_A')).status).toBe(404);
  });
  it('offers classes of their own names', async () => {
    expect(await post('/resource_classes', { name: 'CUSTOM_ONE' })).toMatchObject({ status: 201 });
    expect(await post('/resource_classes', { name: 'CUSTOM_ONE' })).toMatchObject({ status: 409 });
    expect(await post('/resource_classes', { name: 'VCPU' })).toMatchObject({ status: 400 });
    expect((await put('/resource_classes/CUSTOM_ONE', { name: 'CUSTOM_TWO' }, '1.6')).json).toMatchObject({
      name: 'CUSTOM_TWO',
    });
    expect((await put('/resource_classes/CUSTOM_TWO')).status).toBe(204);
    expect((await put('/resource_classes/CUSTOM_SIX')).status).toBe(201);
    expect((await call('DELETE', '/resource_classes/VCPU')).status).toBe(400);
    expect((await call('DELETE', '/resource_classes/CUSTOM_SIX')).status).toBe(204);
  });
});

describe('allocations of it', () => {
  it.each([
    ['1.0', (id: string) => ({ allocations: [{ resource_provider: { uuid: id }, resources: { VCPU: 1 } }] })],
    ['1.12', (id: string) => consumes(id, 1, {})],
    ['1.28', (id: string) => consumes(id, 1, { consumer_generation: null })],
    ['1.34', (id: string) => consumes(id, 1, { consumer_generation: null, mappings: { '': [id] } })],
    ['1.38', (id: string) => consumes(id, 1, { consumer_generation: null, consumer_type: 'THING' })],
  ] as const)('are taken as %s said it', async (version, body) => {
    const id = await provider(2);
    const consumer = uuid();
    expect((await put(`/allocations/${consumer}`, body(id), version)).status).toBe(204);
    expect((await get(`/allocations/${consumer}`)).allocations[id].resources).toEqual({ VCPU: 1 });
    expect(await call('DELETE', `/allocations/${consumer}`)).toMatchObject({ status: 204, json: undefined });
    expect((await call('DELETE', `/allocations/${consumer}`)).status).toBe(404);
  });
  it('of many consumers are all granted or none', async () => {
    const id = await provider(2);
    const [a, b] = [uuid(), uuid()];
    const both = (vcpus: number) => ({
      [a]: consumes(id, 1, { consumer_generation: null, consumer_type: 'THING' }),
      [b]: consumes(id, vcpus, { consumer_generation: null, consumer_type: 'THING' }),
    });
    expect((await post('/allocations', both(2))).status).toBe(409);
    expect(await get(`/resource_providers/${id}/usages`)).toMatchObject({ usages: { VCPU: 0 } });
    expect((await post('/allocations', both(1))).status).toBe(204);
    expect(await get('/usages?project_id=p1&consumer_type=THING')).toEqual({
      usages: { THING: { consumer_count: 2, VCPU: 2 } },
    });
    expect((await get(`/resource_providers/${id}/allocations`)).allocations[b]).toMatchObject({
      consumer_generation: 1,
    });
  });
  it('move along with the inventories in one step, for services', async () => {
    const [from, to, consumer] = [await provider(2), await provider(), uuid()];
    await put(`/allocations/${consumer}`, consumes(from, 1, {}), '1.12');
    const body = {
      inventories: {
        [from]: { resource_provider_generation: 2, inventories: {} },
        [to]: { resource_provider_generation: 0, inventories: { VCPU: { total: 2 } } },
      },
      allocations: { [consumer]: consumes(to, 1, { consumer_generation: 1, consumer_type: 'THING' }) },
    };
    expect((await post('/reshaper', body)).status).toBe(403);
    expect((await call('POST', '/reshaper', { as: 'service', body })).status).toBe(204);
    expect(Object.keys((await get(`/allocations/${consumer}`)).allocations)).toEqual([to]);
  });
});

describe('the provider of a compute host', () => {
  const own = () => `/resource_providers/${host}`;
  it('bears traits of the operator beside its own, which scheduling then knows', async () => {
    await put('/traits/CUSTOM_GOLD');
    const { generation } = await get(own());
    const body = { traits: ['CUSTOM_GOLD'], resource_provider_generation: generation };
    expect((await put(`${own()}/traits`, body)).json.traits.sort()).toEqual(['CUSTOM_GOLD', 'HW_CPU_X86_AVX']);
    const request = sim.request(await sim.server());
    const gold = { ...request, flavor: { ...request.flavor, extraSpecs: { 'trait:CUSTOM_GOLD': 'required' } } };
    expect(await scheduler.reserve.reserve(gold)).toMatchObject({ hostId: host });
    expect((await call('DELETE', `${own()}/traits`)).status).toBe(204);
    expect((await get(`${own()}/traits`)).traits).toEqual(['HW_CPU_X86_AVX']);
  });
  it('is in the aggregates that an operator put it in', async () => {
    const aggregate = uuid();
    expect((await put(`${own()}/aggregates`, [aggregate], '1.1')).status).toBe(200);
    expect((await get(`/resource_providers?member_of=${aggregate}`)).resource_providers).toHaveLength(1);
  });
  it('may have providers below it, which are found along with it', async () => {
    const id = uuid();
    await post('/resource_providers', { name: id, uuid: id, parent_provider_uuid: host });
    await post(`/resource_providers/${id}/inventories`, { resource_class: 'FPGA', total: 1 });
    const { allocation_requests } = await get('/allocation_candidates?resources=VCPU:1,FPGA:1');
    expect(allocation_requests).toMatchObject([
      { allocations: { [host]: { resources: { VCPU: 1 } }, [id]: { resources: { FPGA: 1 } } } },
    ]);
  });
  it('keeps its name, its inventory and what servers have of it', async () => {
    const refused = [
      put(own(), { name: 'x' }),
      call('DELETE', own()),
      post(`${own()}/inventories`, { resource_class: 'FPGA', total: 1 }),
      call('DELETE', `${own()}/inventories`),
      put(`/allocations/${uuid()}`, consumes(host, 1, {}), '1.12'),
    ];
    for (const { status, json } of await Promise.all(refused)) {
      expect(status).toBe(409);
      expect(json.errors[0].detail).toContain('is a compute host');
    }
  });
});
