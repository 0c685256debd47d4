import type { Bytes } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ComputeApp, computeApp, IMAGE, VAST_IMAGE } from '../compute-app.fixtures.js';

let app: ComputeApp;
beforeAll(async () => {
  app = await computeApp();
});
afterAll(() => app?.close());

type Json = Record<string, never> & { [key: string]: Json };
const server = (over: Record<string, unknown> = {}) => ({
  server: { name: 'web', flavorRef: '1', imageRef: IMAGE, networks: 'auto', ...over },
});
const create = async (over: Record<string, unknown> = {}, version = '2.104') => {
  const answer = await app.call('POST', '/v2.1/servers', { version, body: server(over) });
  expect(answer.status, answer.text).toBe(202);
  return (answer.body as unknown as { server: { id: string } }).server.id;
};

describe('a server', () => {
  it('is accepted, built, shown, and gone', async () => {
    const posted = await app.call('POST', '/v2.1/servers', {
      version: '2.104',
      body: server({ user_data: 'aGVsbG8=' }),
    });
    expect(posted.status, posted.text).toBe(202);
    const { id, adminPass } = (posted.body as Json).server as unknown as { id: string; adminPass: string };
    expect(posted.headers.location).toBe(`http://cloud.example/compute/v2.1/servers/${id}`);
    expect(adminPass).toMatch(/^\w{12}$/);
    let shown = (await app.call('GET', `/v2.1/servers/${id}`)).body as Json;
    expect(shown.server).toMatchObject({ status: 'BUILD', 'OS-EXT-STS:task_state': 'scheduling', addresses: {} });
    await app.activate(id);
    shown = (await app.call('GET', `/v2.1/servers/${id}`)).body as Json;
    expect(shown.server).toMatchObject({ status: 'ACTIVE', 'OS-EXT-STS:power_state': 1 });
    expect((await app.call('DELETE', `/v2.1/servers/${id}`)).status).toBe(204);
    shown = (await app.call('GET', `/v2.1/servers/${id}`)).body as Json;
    expect(shown.server).toMatchObject({ 'OS-EXT-STS:task_state': 'deleting' });
  });

  it.each(['2.1', '2.79', '2.100', '2.104'])('looks at %s as its version says', async (version) => {
    const id = await create({ metadata: { a: 'b' }, description: 'text', tags: ['t'] });
    await app.activate(id);
    const look = async (as: 'member' | 'admin') => {
      const answer = await app.call('GET', `/v2.1/servers/${id}`, { version, as });
      return JSON.parse(
        answer.text
          .replaceAll(id, '<id>')
          .replaceAll(id.slice(0, 8), '<short>')
          .replace(/r-[a-z0-9]{8}/, '<reservation>'),
      ) as Json;
    };
    expect((await look('member')).server).toMatchSnapshot('member');
    expect(Object.keys((await look('admin')).server!).sort()).toMatchSnapshot('admin');
    const list = (await app.call('GET', '/v2.1/servers/detail?limit=1', { version })).body as unknown as {
      servers: Json[];
      servers_links: unknown[];
    };
    expect(list.servers).toHaveLength(1);
    expect(list.servers_links).toHaveLength(1);
  });

  it('is not there for others', async () => {
    const id = await create();
    const answer = await app.call('GET', `/v2.1/servers/${id}`, { as: 'other' });
    expect(answer).toMatchObject({
      status: 404,
      body: { itemNotFound: { code: 404, message: `Instance ${id} could not be found.` } },
    });
  });

  it('shows its IPv6 access address in the short form', async () => {
    const id = await create({ accessIPv6: '0000:0000:0000:0000:0000:babe:220.12.22.2' });
    const { body } = await app.call('GET', `/v2.1/servers/${id}`);
    expect((body as { server: object }).server).toMatchObject({ accessIPv6: '::babe:dc0c:1602' });
  });

  it('needs networks from 2.37 on', async () => {
    const { networks: _, ...rest } = server().server;
    expect((await app.call('POST', '/v2.1/servers', { version: '2.37', body: { server: rest } })).status).toBe(400);
    expect((await app.call('POST', '/v2.1/servers', { version: '2.36', body: { server: rest } })).status).toBe(202);
  });

  it.each([
    ['an unknown key', { colour: 'red' }, "Additional properties are not allowed ('colour' was unexpected)"],
    ['an empty name', { name: '' }, 'name'],
    ['an unknown flavor', { flavorRef: '99' }, 'Flavor 99 could not be found.'],
    ['an unknown image', { imageRef: '5f3c7f0e-6f0c-4b32-9f0b-0d7a0c4f7a01' }, 'Can not find requested image'],
    [
      'an image whose disk does not fit',
      { imageRef: VAST_IMAGE },
      "Flavor's disk is too small for requested image. Flavor disk is 1073741824 bytes, image is 109951162777600 bytes.",
    ],
    ['an unknown key pair', { key_name: 'none' }, 'Invalid key_name provided.'],
    ['an unknown zone', { availability_zone: 'moon' }, 'The requested availability zone is not available'],
    ['an unknown group', { security_groups: [{ name: 'none' }] }, 'Security group none not found'],
    ['more at least than at most', { min_count: 3, max_count: 2 }, 'min_count must be <= max_count'],
  ])('is refused for %s', async (_, over, message) => {
    const answer = await app.call('POST', '/v2.1/servers', { version: '2.100', body: server(over) });
    expect(answer.status, answer.text).toBe(400);
    expect(((answer.body as Json).badRequest as unknown as { message: string }).message).toContain(message);
  });

  describe('of an image with a kernel beside its disk', () => {
    const [AKI, ARI, AMI] = [1, 2, 3].map((n) => `5f3c7f0e-6f0c-4b32-9f0b-0d7a0c4f7a1${n}`) as [string, string, string];
    const MIB = 1024 ** 2;
    const post = async (properties: Record<string, string>, kernel = 8 * MIB, ramdisk = 32 * MIB) => {
      app.images
        .set(AKI, { diskFormat: 'aki', size: kernel as Bytes })
        .set(ARI, { diskFormat: 'ari', size: ramdisk as Bytes })
        .set(AMI, { properties });
      const answer = await app.call('POST', '/v2.1/servers', { version: '2.37', body: server({ imageRef: AMI }) });
      const [[, told] = []] = Object.entries(answer.body as Record<string, { id: string; message: string }>);
      return { status: answer.status, text: answer.text, told };
    };

    it('keeps both, and shows them to administrators', async () => {
      const made = await post({ kernel_id: AKI, ramdisk_id: ARI });
      expect(made.status, made.text).toBe(202);
      const { body } = await app.call('GET', `/v2.1/servers/${made.told!.id}`, { as: 'admin', version: '2.3' });
      expect((body as { server: object }).server).toMatchObject({
        'OS-EXT-SRV-ATTR:kernel_id': AKI,
        'OS-EXT-SRV-ATTR:ramdisk_id': ARI,
      });
    });

    it.each([
      ['is not there', { kernel_id: '5f3c7f0e-6f0c-4b32-9f0b-0d7a0c4f7a19' }, 'Can not find requested image'],
      ['is none', { kernel_id: ARI }, 'disk format aki'],
      ['has a disk for its RAM disk', { kernel_id: AKI, ramdisk_id: IMAGE }, 'disk format ari'],
    ])('is refused when that %s', async (_, properties, message) => {
      const refused = await post(properties);
      expect([refused.status, refused.told?.message]).toEqual([400, expect.stringContaining(message)]);
    });

    it('is refused when both together are too large, for no flavor counts them', async () => {
      const both = { kernel_id: AKI, ramdisk_id: ARI };
      expect((await post(both, 256 * MIB, 512 * MIB)).status).toBe(202);
      const refused = await post(both, 256 * MIB, 512 * MIB + 1);
      expect([refused.status, refused.told?.message]).toEqual([
        400,
        `The kernel and ramdisk of image ${AMI} are too large: 805306369 bytes, at most 805306368 are allowed.`,
      ]);
      expect((await post({ kernel_id: AKI }, 768 * MIB + 1)).status).toBe(400);
    });
  });

  it('brings files along until 2.56, as many and as large as the quota says', async () => {
    const file = (over = {}) => ({ path: '/etc/motd', contents: 'aGVsbG8=', ...over });
    const post = async (personality: unknown, version = '2.56') => {
      const answer = await app.call('POST', '/v2.1/servers', { version, body: server({ personality }) });
      return [answer.status, (Object.values(answer.body as Json)[0] as unknown as { message?: string }).message];
    };
    expect((await post([file()]))[0]).toBe(202);
    expect((await post([file()], '2.57'))[0]).toBe(400);
    expect((await post([{ path: '/x' }]))[0]).toBe(400);
    expect(await post(Array.from({ length: 6 }, () => file()))).toEqual([403, 'Personality file limit exceeded']);
    expect(await post([file({ path: `/${'x'.repeat(255)}` })])).toEqual([
      403,
      'Personality file path exceeds maximum 255',
    ]);
    const large = Buffer.alloc(7_700).toString('base64');
    expect(await post([file({ contents: large })])).toEqual([403, 'Personality file content exceeds maximum 10240']);
  });

  it('takes quota, and gives a text clients know when there is none', async () => {
    const put = await app.call('PUT', '/v2.1/os-quota-sets/p2', { as: 'admin', body: { quota_set: { instances: 2 } } });
    expect(put.status, put.text).toBe(200);
    const post = (count: number) =>
      app.call('POST', '/v2.1/servers', {
        as: 'other',
        body: server({ networks: undefined, max_count: count, min_count: count }),
      });
    expect((await post(2)).status).toBe(202);
    expect(await post(1)).toMatchObject({
      status: 403,
      body: {
        forbidden: { message: 'Quota exceeded for instances: Requested 1, but already used 2 of 2 instances' },
      },
    });
  });

  it('is found by filters', async () => {
    const id = await create({ name: 'needle-7', tags: ['blue'] });
    const names = async (query: string, version = '2.100') => {
      const answer = await app.call('GET', `/v2.1/servers?${query}`, { version });
      expect(answer.status, answer.text).toBe(200);
      return ((answer.body as Json).servers as unknown as { id: string }[]).map((s) => s.id);
    };
    for (const query of ['name=needle', 'name=%5Eneedle-%5B0-9%5D%24', 'tags=blue', 'name=needle&status=build'])
      expect(await names(query), query).toEqual([id]);
    for (const query of ['name=needle&status=active', 'name=needle&flavor=9', 'tags=blue,red', 'name=needle&image=x'])
      expect(await names(query), query).toEqual([]);
    expect((await app.call('GET', '/v2.1/servers?status=odd', { version: '2.38' })).status).toBe(400);
    expect(await names('status=odd', '2.37')).toEqual([]);
    expect((await app.call('GET', '/v2.1/servers?odd=1', { version: '2.75' })).status).toBe(400);
    expect((await app.call('GET', '/v2.1/servers?name=(', { version: '2.75' })).status).toBe(400);
    expect((await app.call('GET', '/v2.1/servers?marker=none')).status).toBe(400);
    expect((await app.call('GET', '/v2.1/servers?all_tenants=1')).status).toBe(403);
    expect((await app.call('GET', '/v2.1/servers?all_tenants=1', { as: 'admin' })).status).toBe(200);
  });
});

describe('an action', () => {
  const act = (id: string, body: unknown, as: 'member' | 'admin' | 'other' = 'member', version = '2.100') =>
    app.call('POST', `/v2.1/servers/${id}/action`, { as, version, body });

  it('changes the power from the right states only', async () => {
    const id = await create();
    await app.activate(id);
    expect(await act(id, { 'os-start': null })).toMatchObject({
      status: 409,
      body: {
        conflictingRequest: { message: `Cannot 'start' instance ${id} while it is in vm_state active` },
      },
    });
    const stop = await act(id, { 'os-stop': null });
    expect(stop).toMatchObject({ status: 202, text: '' });
    expect(await act(id, { pause: null })).toMatchObject({ status: 409 });
  });

  it('is refused when there is none like it, or two', async () => {
    const id = await create();
    expect(await act(id, { dance: null })).toMatchObject({
      status: 400,
      body: { badRequest: { message: 'There is no such action: dance' } },
    });
    expect((await act(id, { 'os-stop': null, 'os-start': null })).status).toBe(400);
    expect((await act(id, {})).status).toBe(400);
    expect((await act(id, { shelve: null })).status).toBe(501);
    expect((await act(id, { changePassword: { adminPass: null } })).status).toBe(400);
    expect((await act(id, { unshelve: {} }, 'member', '2.77')).status).toBe(400);
    expect((await act(id, { unshelve: null }, 'member', '2.77')).status).toBe(501);
    expect((await act(id, { 'os-resetState': { state: 'active' } })).status).toBe(403);
    expect((await act(id, { reboot: { type: 'odd' } })).status).toBe(400);
    expect((await act(id, { 'os-stop': null }, 'other')).status).toBe(404);
  });

  it('is barred by a lock, but not for administrators', async () => {
    const id = await create();
    await app.activate(id);
    expect((await act(id, { lock: { locked_reason: 'mine' } })).status).toBe(202);
    expect(await act(id, { 'os-stop': null })).toMatchObject({
      status: 409,
      body: { conflictingRequest: { message: `Instance ${id} is locked` } },
    });
    const shown = (await app.call('GET', `/v2.1/servers/${id}`, { version: '2.73' })).body as Json;
    expect(shown.server).toMatchObject({ locked: true, locked_reason: 'mine' });
    expect((await act(id, { 'os-stop': null }, 'admin')).status).toBe(202);
    expect((await act(id, { unlock: null })).status).toBe(202);
  });

  it('stays readable', async () => {
    const id = await create();
    await app.activate(id);
    await act(id, { 'os-stop': null });
    const path = `/v2.1/servers/${id}/os-instance-actions`;
    const list = (await app.call('GET', path, { version: '2.84' })).body as unknown as {
      instanceActions: { action: string; request_id: string }[];
    };
    expect(list.instanceActions.map((a) => a.action).sort()).toEqual(['create', 'stop']);
    const { request_id } = list.instanceActions.find((a) => a.action === 'stop')!;
    const shown = (version: string) => app.call('GET', `${path}/${request_id}`, { as: 'admin', version });
    const step = { event: 'compute_stop_instance', host: 'compute-1' };
    expect((await shown('2.84')).body).toMatchObject({
      instanceAction: { action: 'stop', events: [{ ...step, result: null }] },
    });
    const done = { kind: 'operationDone', generation: 1, operation: 'stop', power: 'shutdown', bootId: 'b' } as const;
    await app.report(id, done, request_id);
    await app.call('DELETE', `/v2.1/servers/${id}`);
    expect((await shown('2.84')).body).toMatchObject({
      instanceAction: { action: 'stop', events: [{ ...step, result: 'Success' }] },
    });
    expect(await app.call('GET', `${path}/req-none`, { version: '2.84' })).toMatchObject({
      status: 404,
      body: { itemNotFound: { message: 'Action req-none not found' } },
    });
  });

  it('are listed by time from 2.58 on, which refuses what it does not know', async () => {
    const id = await create();
    const count = async (query: string, version: string) => {
      const answer = await app.call('GET', `/v2.1/servers/${id}/os-instance-actions?${query}`, { version });
      const { instanceActions } = (answer.body ?? {}) as { instanceActions?: object[] };
      return [answer.status, instanceActions?.length];
    };
    const past = '=2020-01-01T00:00:00Z';
    expect(await count(`changes-before${past}&odd=1`, '2.57')).toEqual([200, 1]);
    expect(await count(`changes-before${past}`, '2.65')).toEqual([400, undefined]);
    expect(await count(`changes-before${past}`, '2.66')).toEqual([200, 0]);
    expect(await count(`changes-since${past}`, '2.58')).toEqual([200, 1]);
    expect(await count('odd=1', '2.58')).toEqual([400, undefined]);
  });
});

describe('what a server carries', () => {
  it('is changed by update, metadata and tags', async () => {
    const id = await create();
    await app.activate(id);
    const put = await app.call('PUT', `/v2.1/servers/${id}`, {
      version: '2.104',
      body: { server: { name: 'new', accessIPv4: '192.0.2.1', description: null } },
    });
    expect(put).toMatchObject({ status: 200, body: { server: { name: 'new', accessIPv4: '192.0.2.1' } } });
    const path = `/v2.1/servers/${id}/metadata`;
    expect(await app.call('PUT', path, { body: { metadata: { a: '1' } } })).toMatchObject({
      body: { metadata: { a: '1' } },
    });
    expect(await app.call('POST', path, { body: { metadata: { b: '2' } } })).toMatchObject({
      body: { metadata: { a: '1', b: '2' } },
    });
    expect((await app.call('DELETE', `${path}/a`)).status).toBe(204);
    expect((await app.call('GET', `${path}/a`)).status).toBe(404);
    expect((await app.call('PUT', `${path}/c`, { body: { meta: { d: '1' } } })).status).toBe(400);
    const tags = `/v2.1/servers/${id}/tags`;
    const version = '2.26';
    expect((await app.call('PUT', `${tags}/x`, { version })).status).toBe(201);
    expect((await app.call('PUT', `${tags}/x`, { version })).status).toBe(204);
    expect((await app.call('GET', `${tags}/y`, { version })).status).toBe(404);
    expect((await app.call('GET', tags, { version: '2.25' })).status).toBe(404);
    expect((await app.call('GET', tags, { version })).body).toEqual({ tags: ['x'] });
    expect((await app.call('GET', `/v2.1/servers/${id}/ips`)).body).toEqual({
      addresses: { private: [{ version: 4, addr: '10.0.0.5' }] },
    });
    expect((await app.call('GET', `/v2.1/servers/${id}/os-interface`)).status).toBe(200);
  });

  it('opens its console for a while', async () => {
    const id = await create();
    await app.activate(id);
    const asked = await app.call('POST', `/v2.1/servers/${id}/remote-consoles`, {
      version: '2.6',
      body: { remote_console: { protocol: 'vnc', type: 'novnc' } },
    });
    expect(asked.status, asked.text).toBe(200);
    const { url } = (asked.body as Json).remote_console as unknown as { url: string };
    const page = new URL(url);
    expect(page.origin + page.pathname).toBe('http://cloud.example/console/vnc_lite.html');
    const socket = new URL(page.searchParams.get('path')!, page.origin);
    expect(socket.pathname).toBe('/console/');
    const token = socket.searchParams.get('token')!;
    const show = () => app.call('GET', `/v2.1/os-console-auth-tokens/${token}`, { as: 'admin', version: '2.31' });
    expect((await show()).status).toBe(200);
    await app.call('POST', `/v2.1/servers/${id}/action`, { body: { 'os-stop': null } });
    expect((await show()).status).toBe(404);
  });
});
