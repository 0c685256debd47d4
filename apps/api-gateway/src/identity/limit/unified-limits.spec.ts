import type { LimitAttributes, UnifiedLimitEvent } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { IdentityCloud } from '../testing/identity-cloud.js';
import { type LimitCommand, unifiedLimits } from './unified-limits.js';

const vcpus = { serviceId: 's', regionId: null, resourceName: 'vcpus' };
const registered = (id: string, change: Partial<typeof vcpus> = {}): UnifiedLimitEvent => ({
  type: 'RegisteredLimitCreated',
  data: { id, attributes: { ...vcpus, ...change, defaultLimit: 4, description: null } },
});
const limit = (projectId: string, change: Partial<LimitAttributes> = {}): LimitAttributes => ({
  ...vcpus,
  projectId,
  domainId: null,
  resourceLimit: 8,
  description: null,
  ...change,
});
const created = (id: string, attributes: LimitAttributes): UnifiedLimitEvent => ({
  type: 'LimitCreated',
  data: { id, attributes },
});
const given =
  (...events: UnifiedLimitEvent[]) =>
  (command: LimitCommand) =>
    unifiedLimits.decide(command, events.reduce(unifiedLimits.evolve, unifiedLimits.initial));

describe('unified limits', () => {
  it('are all made, or none', () => {
    const when = given(registered('r'));
    const two = (b: LimitAttributes): LimitCommand => ({
      type: 'create',
      limits: [
        { id: 'a', attributes: limit('p') },
        { id: 'b', attributes: b },
      ],
    });
    expect(when(two(limit('q')))).toHaveLength(2);
    expect(() => when(two(limit('p')))).toThrow(/Duplicate entry/);
    expect(() => when(two(limit('q', { resourceName: 'ram' })))).toThrow(/no corresponding registered limit/);
  });
  it('keep what is registered while a limit stands on it', () => {
    const when = given(registered('r'), created('a', limit('p')), registered('x', { resourceName: 'ram' }));
    expect(() => when({ type: 'unregister', id: 'r' })).toThrow(/project limits associated/);
    expect(() => when({ type: 'changeRegistered', id: 'r', changes: { resourceName: 'n' } })).toThrow(/associated/);
    expect(when({ type: 'changeRegistered', id: 'r', changes: { defaultLimit: 1 } })).toHaveLength(1);
    expect(() => when({ type: 'changeRegistered', id: 'x', changes: { resourceName: 'vcpus' } })).toThrow(/Duplicate/);
    expect(when({ type: 'unregister', id: 'x' })).toHaveLength(1);
  });
  it('go with their project', () => {
    const when = given(registered('r'), created('a', limit('p')), created('b', limit('q')));
    expect(when({ type: 'deleteOf', ownerId: 'p' })).toEqual([{ type: 'LimitDeleted', data: { id: 'a' } }]);
  });
});

describe('the API of unified limits', () => {
  let cloud: IdentityCloud;
  let admin: string;
  let service_id: string;
  beforeAll(async () => {
    cloud = await IdentityCloud.start();
    admin = await cloud.adminToken();
    service_id = (await cloud.call('GET', '/v3/services', { token: admin })).body.services[0].id;
  });
  afterAll(() => cloud?.stop());
  const call = (method: string, path: string, body?: unknown, token = admin) =>
    cloud.call(method, `/v3${path}`, { token, body });
  const register = async (resource_name: string) => {
    const body = { registered_limits: [{ service_id, resource_name, default_limit: 4 }] };
    return (await call('POST', '/registered_limits', body)).body.registered_limits[0];
  };

  it('shows each project its own', async () => {
    const [ann, bob] = [await cloud.member('ann'), await cloud.member('bob')];
    const row = await register('vcpus');
    expect(row).toMatchObject({ service_id, region_id: null, resource_name: 'vcpus', default_limit: 4 });
    const limits = [{ service_id, resource_name: 'vcpus', resource_limit: 8, project_id: ann.projectId }];
    const [mine] = (await call('POST', '/limits', { limits })).body.limits;
    expect(mine).toMatchObject({ project_id: ann.projectId, domain_id: null, resource_limit: 8 });
    expect((await call('GET', '/limits', undefined, ann.token)).body.limits).toEqual([mine]);
    expect((await call('GET', '/limits', undefined, bob.token)).body.limits).toEqual([]);
    expect((await call('GET', `/limits/${mine.id}`, undefined, ann.token)).body.limit).toEqual(mine);
    expect((await call('GET', `/limits/${mine.id}`, undefined, bob.token)).status).toBe(403);
    expect((await call('POST', '/limits', { limits }, ann.token)).status).toBe(403);
    expect((await call('GET', '/limits?resource_name=ram')).body.limits).toEqual([]);
    expect(
      (await call('PATCH', `/limits/${mine.id}`, { limit: { resource_limit: 9 } })).body.limit.resource_limit,
    ).toBe(9);
    expect((await call('DELETE', `/registered_limits/${row.id}`)).status).toBe(403);
    await call('DELETE', `/projects/${ann.projectId}`);
    expect((await call('GET', `/limits/${mine.id}`)).status).toBe(404);
    expect((await call('DELETE', `/registered_limits/${row.id}`)).status).toBe(204);
  });
  it('refuses what does not exist and what is asked in the wrong form', async () => {
    const bad = async (body: object) =>
      (await call('POST', '/registered_limits', { registered_limits: [body] })).status;
    const good = { service_id, resource_name: 'x', default_limit: 1 };
    expect(await bad({ ...good, service_id: 'nobody' })).toBe(400);
    expect(await bad({ ...good, region_id: 'nowhere' })).toBe(400);
    expect(await bad({ ...good, default_limit: -2 })).toBe(400);
    expect(await bad({ ...good, colour: 'red' })).toBe(400);
    const orphan = { service_id, resource_name: 'x', resource_limit: 1 };
    expect((await call('POST', '/limits', { limits: [orphan] })).status).toBe(400);
    expect((await call('POST', '/limits', { limits: [{ ...orphan, domain_id: 'default' }] })).status).toBe(403);
    expect((await call('GET', '/limits/model')).body.model.name).toBe('flat');
    expect((await call('GET', '/registered_limits/x')).status).toBe(404);
  });
});
