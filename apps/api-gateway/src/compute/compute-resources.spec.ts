import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ComputeApp, computeApp } from './compute-app.fixtures.js';

let app: ComputeApp;
beforeAll(async () => {
  app = await computeApp();
});
afterAll(() => app?.close());

type Json = { [key: string]: Json } & { readonly length: number };
const at = async (
  method: string,
  path: string,
  version: string,
  options: { as?: 'member' | 'admin' | 'other'; body?: unknown } = {},
) => {
  const answer = await app.call(method, path, { version, ...options });
  return { status: answer.status, body: answer.body as Json };
};

describe('flavors', () => {
  const flavor = (name: string, over = {}) => ({ flavor: { name, ram: 256, vcpus: 1, disk: 2, ...over } });

  it('are made by administrators, once per name and id', async () => {
    expect((await at('POST', '/v2.1/flavors', '2.1', { body: flavor('a') })).status).toBe(403);
    expect((await at('POST', '/v2.1/flavors', '2.1', { as: 'admin', body: flavor('a', { id: 'a' }) })).status).toBe(
      200,
    );
    expect((await at('POST', '/v2.1/flavors', '2.1', { as: 'admin', body: flavor('a') })).status).toBe(409);
    expect((await at('POST', '/v2.1/flavors', '2.1', { as: 'admin', body: flavor('b', { id: 'a' }) })).status).toBe(
      409,
    );
    expect((await at('DELETE', '/v2.1/flavors/a', '2.1', { as: 'admin' })).status).toBe(202);
    expect((await at('GET', '/v2.1/flavors/a', '2.1')).status).toBe(404);
  });

  it('look as their version says', async () => {
    const keys = async (version: string) => Object.keys((await at('GET', '/v2.1/flavors/1', version)).body.flavor!);
    expect(await keys('2.1')).toContain('rxtx_factor');
    expect(await keys('2.54')).not.toContain('description');
    expect(await keys('2.55')).toContain('description');
    expect(await keys('2.61')).toContain('extra_specs');
    expect(await keys('2.102')).not.toContain('rxtx_factor');
    expect((await at('GET', '/v2.1/flavors/1', '2.74')).body.flavor!.swap).toBe('');
    expect((await at('GET', '/v2.1/flavors/1', '2.75')).body.flavor!.swap).toBe(0);
  });

  it('that are private are for those who have access', async () => {
    await at('POST', '/v2.1/flavors', '2.1', {
      as: 'admin',
      body: flavor('private', { id: 'private', 'os-flavor-access:is_public': false }),
    });
    expect((await at('GET', '/v2.1/flavors/private', '2.1')).status).toBe(404);
    const grant = { addTenantAccess: { tenant: 'p1' } };
    expect((await at('POST', '/v2.1/flavors/private/action', '2.1', { as: 'admin', body: grant })).body).toEqual({
      flavor_access: [{ flavor_id: 'private', tenant_id: 'p1' }],
    });
    expect((await at('POST', '/v2.1/flavors/private/action', '2.1', { as: 'admin', body: grant })).status).toBe(409);
    expect((await at('GET', '/v2.1/flavors/private', '2.1')).status).toBe(200);
    expect((await at('GET', '/v2.1/flavors/private', '2.1', { as: 'other' })).status).toBe(404);
    expect((await at('POST', '/v2.1/flavors/1/action', '2.7', { as: 'admin', body: grant })).status).toBe(409);
  });

  it('have extra specs', async () => {
    const path = '/v2.1/flavors/1/os-extra_specs';
    const put = await at('POST', path, '2.1', { as: 'admin', body: { extra_specs: { 'hw:x': 1 } } });
    expect(put.body).toEqual({ extra_specs: { 'hw:x': '1' } });
    expect((await at('GET', `${path}/hw:x`, '2.1')).body).toEqual({ 'hw:x': '1' });
    expect((await at('PUT', `${path}/hw:x`, '2.1', { as: 'admin', body: { y: '1' } })).status).toBe(400);
    expect((await at('DELETE', `${path}/hw:x`, '2.1', { as: 'admin' })).status).toBe(200);
    expect((await at('DELETE', `${path}/hw:x`, '2.1', { as: 'admin' })).status).toBe(404);
  });
});

describe('extra specs with a meaning', () => {
  const set = async (version: string, extra_specs: Record<string, string>) =>
    (await at('POST', '/v2.1/flavors/1/os-extra_specs', version, { as: 'admin', body: { extra_specs } })).status;

  it('are checked from 2.86 on', async () => {
    expect(await set('2.85', { 'hw:cpu_polcy': 'dedicated' })).toBe(200);
    expect(await set('2.86', { 'hw:cpu_polcy': 'dedicated' })).toBe(400);
    expect(await set('2.86', { 'hw:cpu_policy': 'odd' })).toBe(400);
    expect(await set('2.86', { 'hw:cpu_policy': 'dedicated', 'trait:HW_CPU_X86_AVX': 'required' })).toBe(200);
    expect(await set('2.86', { 'resources:VCPU': '-1' })).toBe(400);
    expect(await set('2.86', { 'mine:anything': 'goes', plain: 'too' })).toBe(200);
  });
});

describe('key pairs', () => {
  const body = (name: string, over = {}) => ({ keypair: { name, ...over } });
  const key = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me';

  it('answer with the codes of their version', async () => {
    expect((await at('POST', '/v2.1/os-keypairs', '2.1', { body: body('a') })).status).toBe(200);
    expect((await at('POST', '/v2.1/os-keypairs', '2.2', { body: body('b', { type: 'ssh' }) })).status).toBe(201);
    expect((await at('POST', '/v2.1/os-keypairs', '2.1', { body: body('c', { type: 'ssh' }) })).status).toBe(400);
    expect((await at('POST', '/v2.1/os-keypairs', '2.92', { body: body('d') })).status).toBe(400);
    expect((await at('DELETE', '/v2.1/os-keypairs/a', '2.1')).status).toBe(202);
    expect((await at('DELETE', '/v2.1/os-keypairs/b', '2.2')).status).toBe(204);
  });

  it('give a generated private key once, and keep it nowhere', async () => {
    const made = await at('POST', '/v2.1/os-keypairs', '2.2', { body: body('once') });
    const secret = made.body.keypair!.private_key as unknown as string;
    expect(secret).toContain('OPENSSH PRIVATE KEY');
    const shown = await at('GET', '/v2.1/os-keypairs/once', '2.2');
    const certified = await at('POST', '/v2.1/os-keypairs', '2.2', { body: body('winrm', { type: 'x509' }) });
    expect(certified).toMatchObject({ status: 201, body: { keypair: { type: 'x509' } } });
    expect(certified.body.keypair!.private_key).toMatch(/^-----BEGIN PRIVATE KEY-----/);
    expect(shown.body.keypair).not.toHaveProperty('private_key');
    const log = JSON.stringify(await app.core.store.readAll(0, 10_000));
    expect(log).not.toContain(secret.split('\n')[3]);
  });

  it('allow more characters in names from 2.92 on', async () => {
    const named = (name: string) => ({ body: body(name, { public_key: key }) });
    expect((await at('POST', '/v2.1/os-keypairs', '2.91', named('me@home'))).status).toBe(400);
    expect((await at('POST', '/v2.1/os-keypairs', '2.92', named('me@home'))).status).toBe(201);
    expect((await at('GET', '/v2.1/os-keypairs/me@home', '2.92')).body.keypair).toMatchObject({
      fingerprint: '65:96:2d:fc:e8:d5:a9:11:64:0c:0f:ea:00:6e:5b:bd',
    });
  });

  it('of another user are for administrators', async () => {
    expect((await at('GET', '/v2.1/os-keypairs?user_id=u2', '2.10')).status).toBe(403);
    expect((await at('GET', '/v2.1/os-keypairs?user_id=u1', '2.10', { as: 'admin' })).status).toBe(200);
  });
});

describe('quotas and limits', () => {
  it('have the resources of their version', async () => {
    const keys = async (version: string) =>
      Object.keys((await at('GET', '/v2.1/os-quota-sets/p1', version)).body.quota_set!);
    expect(await keys('2.35')).toEqual(expect.arrayContaining(['floating_ips', 'injected_files']));
    expect(await keys('2.36')).not.toContain('floating_ips');
    expect(await keys('2.57')).not.toContain('injected_files');
    const limits = (await at('GET', '/v2.1/limits', '2.57')).body.limits!.absolute!;
    expect(limits).not.toHaveProperty('maxImageMeta');
    expect(limits).toMatchObject({ totalInstancesUsed: 0 });
  });

  it('are set and reset', async () => {
    const path = '/v2.1/os-quota-sets/p7';
    const put = await at('PUT', path, '2.1', { as: 'admin', body: { quota_set: { cores: '7' } } });
    expect(put.body.quota_set).toMatchObject({ cores: 7 });
    expect((await at('PUT', path, '2.36', { as: 'admin', body: { quota_set: { floating_ips: 1 } } })).status).toBe(400);
    expect((await at('PUT', path, '2.1', { body: { quota_set: { cores: 7 } } })).status).toBe(403);
    expect((await at('DELETE', path, '2.1', { as: 'admin' })).status).toBe(202);
    expect((await at('GET', path, '2.1', { as: 'admin' })).body.quota_set).toMatchObject({ cores: 100 });
  });
});

describe('server groups', () => {
  const path = '/v2.1/os-server-groups';
  it('take `policies` before 2.64 and `policy` from then on', async () => {
    const old = { body: { server_group: { name: 'g', policies: ['soft-affinity'] } } };
    const young = { body: { server_group: { name: 'g', policy: 'anti-affinity', rules: { max_server_per_host: 2 } } } };
    expect((await at('POST', path, '2.14', old)).status).toBe(400);
    expect((await at('POST', path, '2.15', old)).status).toBe(200);
    expect((await at('POST', path, '2.64', old)).status).toBe(400);
    expect((await at('POST', path, '2.63', young)).status).toBe(400);
    const made = await at('POST', path, '2.64', young);
    expect(made.body.server_group).toMatchObject({ policy: 'anti-affinity', rules: { max_server_per_host: 2 } });
    const id = made.body.server_group!.id as unknown as string;
    expect((await at('GET', `${path}/${id}`, '2.64', { as: 'other' })).status).toBe(404);
    expect((await at('DELETE', `${path}/${id}`, '2.64')).status).toBe(204);
  });
});
