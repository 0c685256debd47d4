import { once } from 'node:events';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createOpenStackApp, type OpenStackApp, type Refusal } from './index.js';
import { person } from './testing/person.js';
import { ThingsModule } from './testing/things.js';

const token = (roles: string[], projectId: string | null = 'p1') => person(projectId, 'u1', roles);

const lines: { level: string; fields: Record<string, unknown>; message: string }[] = [];
const log = (level: string) => (fields: object, message: string) => {
  lines.push({ level, fields: fields as Record<string, unknown>, message });
};

const refused: Refusal[] = [];
const routes = new Set<string | undefined>();
let app: OpenStackApp;
beforeAll(async () => {
  app = await createOpenStackApp({
    module: ThingsModule,
    services: ['identity', 'compute', 'network', 'image', 'placement'],
    tokens: () => ({
      validate: async (t) =>
        t === 'admin' ? token(['admin', 'member', 'reader']) : t === 'member' ? token(['member', 'reader']) : null,
    }),
    logger: { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') },
    trustedProxies: ['127.0.0.1'],
    refused: (refusal) => refused.push(refusal),
    observe: ({ route }) => routes.add(route),
  });
});
afterAll(() => app?.close());

const call = (
  method: string,
  url: string,
  options: { headers?: Record<string, string>; body?: unknown; token?: string | null } = {},
) =>
  app.fastify.inject({
    method: method as 'GET',
    url,
    headers: {
      host: 'cloud.example',
      ...(options.token === null ? {} : { 'x-auth-token': options.token ?? 'member' }),
      ...(options.body === undefined ? {} : { 'content-type': 'application/json' }),
      ...options.headers,
    },
    ...(options.body === undefined
      ? {}
      : { payload: typeof options.body === 'string' ? options.body : JSON.stringify(options.body) }),
  });

describe('an operation', () => {
  it('is served by an ordinary Nest controller', async () => {
    const answer = await call('GET', '/compute/v2.1/things/7');
    expect(answer.statusCode).toBe(200);
    expect(answer.json()).toEqual({
      thing: { id: '7', at: { major: 2, minor: 1 }, old: true, url: 'http://cloud.example/compute', hi: 'hello x' },
    });
    expect(answer.headers['content-type']).toMatch(/^application\/json/);
    expect(answer.headers['x-openstack-request-id']).toMatch(/^req-[0-9a-f-]{36}$/);
    expect(answer.headers['x-compute-request-id']).toBe(answer.headers['x-openstack-request-id']);
    expect(answer.headers['openstack-api-version']).toBe('compute 2.1');
    expect(answer.headers['x-openstack-nova-api-version']).toBe('2.1');
    expect(answer.headers.vary).toBe('OpenStack-API-Version, X-OpenStack-Nova-API-Version');
  });

  it('is picked by the microversion', async () => {
    const at = (v: string) =>
      call('GET', '/compute/v2.1/new', { headers: { 'openstack-api-version': `compute ${v}` } });
    expect((await at('2.1')).statusCode).toBe(404);
    expect((await at('2.10')).json()).toEqual({ new: 1 });
    const newer = await at('latest');
    expect([newer.statusCode, newer.json(), newer.headers['x-a']]).toEqual([203, { new: 2 }, 'b']);
    expect(newer.headers['openstack-api-version']).toBe('compute 2.104');
  });

  it("answers to a URL that names the project, if it is the token's", async () => {
    const own = '0123456789abcdef0123456789abcdef';
    const answer = await call('GET', `/compute/v2.1/${own}/things/7`);
    expect(answer.statusCode).toBe(400);
    expect(answer.json().badRequest.message).toContain(`URL's project_id '${own}'`);
  });

  it('answers HEAD wherever identity answers GET', async () => {
    expect((await call('HEAD', '/identity/v3/things')).statusCode).toBe(200);
  });
});

describe('a microversion', () => {
  it('out of range is refused with 406', async () => {
    const answer = await call('GET', '/compute/v2.1/new', { headers: { 'x-openstack-nova-api-version': '2.999' } });
    expect(answer.statusCode).toBe(406);
    expect(answer.json()).toEqual({
      computeFault: {
        code: 406,
        message: 'Version 2.999 is not supported by the API. Minimum is 2.1 and maximum is 2.104.',
      },
    });
  });
  it('that is none is refused with 400', async () => {
    const answer = await call('GET', '/compute/v2.1/new', { headers: { 'openstack-api-version': 'compute x' } });
    expect([answer.statusCode, answer.json().badRequest.code]).toEqual([400, 400]);
  });
  it('of another service changes nothing', async () => {
    const answer = await call('GET', '/compute/v2.1/things/1', { headers: { 'openstack-api-version': 'volume 3.50' } });
    expect(answer.headers['openstack-api-version']).toBe('compute 2.1');
  });
});

describe('a request without a valid token', () => {
  it("gets Keystone's 401", async () => {
    for (const t of [null, 'nonsense']) {
      const answer = await call('GET', '/compute/v2.1/things/1', { token: t });
      expect(answer.statusCode).toBe(401);
      expect(answer.json()).toEqual({
        error: { code: 401, message: 'The request you have made requires authentication.', title: 'Unauthorized' },
      });
      expect(answer.headers['www-authenticate']).toBe('Keystone uri="http://cloud.example/identity"');
    }
  });
  it('may still read the discovery documents', async () => {
    const compute = await call('GET', '/compute/', { token: null });
    expect(compute.statusCode).toBe(200);
    expect(compute.json().versions[1]).toMatchObject({ id: 'v2.1', version: '2.104', min_version: '2.1' });
    expect((await call('GET', '/compute/v2.1/', { token: null })).json().version.links[0].href).toBe(
      'http://cloud.example/compute/v2.1/',
    );
    expect((await call('GET', '/identity', { token: null })).statusCode).toBe(300);
    expect((await call('GET', '/identity/v3', { token: null })).json().version.id).toBe('v3.14');
    expect((await call('GET', '/image/', { token: null })).statusCode).toBe(300);
    expect((await call('GET', '/image/versions', { token: null })).statusCode).toBe(200);
    expect((await call('GET', '/network/', { token: null })).statusCode).toBe(200);
    expect((await call('GET', '/placement', { token: null })).json().versions[0].max_version).toBe('1.39');
  });
  it('gets 401 for a route that nobody serves, but 404 from identity', async () => {
    expect((await call('GET', '/compute/v2.1/nothing', { token: null })).statusCode).toBe(401);
    expect((await call('GET', '/identity/v3/nothing', { token: null })).statusCode).toBe(404);
  });
});

describe('links', () => {
  it('follow a trusted proxy', async () => {
    const answer = await call('GET', '/compute/v2.1', {
      headers: {
        'x-forwarded-proto': 'https',
        'x-forwarded-host': 'api.example:8443',
        'x-forwarded-prefix': '/cloud/',
      },
    });
    expect(answer.json().version.links[0].href).toBe('https://api.example:8443/cloud/compute/v2.1/');
  });
  it('ignore a host that is none', async () => {
    const answer = await call('GET', '/compute/v2.1', { headers: { 'x-forwarded-host': 'a"><script>' } });
    expect(answer.json().version.links[0].href).toBe('http://cloud.example/compute/v2.1/');
  });
});

describe('a body', () => {
  const post = (body: unknown, version = '2.1', headers = {}) =>
    call('POST', '/compute/v2.1/things', {
      body,
      headers: { 'openstack-api-version': `compute ${version}`, ...headers },
    });

  it('is checked against the schema of its microversion', async () => {
    expect((await post({ thing: { name: 'a' } })).statusCode).toBe(200);
    expect((await post({ thing: { name: 'a' } }, '2.2')).statusCode).toBe(201);
    expect((await post({ thing: { name: 'a' } }, '2.50')).json().badRequest.message).toBe(
      "Invalid input for field/attribute thing. Value: {'name': 'a'}. 'colour' is a required property",
    );
    expect((await post({ thing: { name: 'a', colour: 'green' } }, '2.50')).json().badRequest.message).toBe(
      "Invalid input for field/attribute colour. Value: green. 'green' is not one of ['red', 'blue']",
    );
  });
  it("is refused in Nova's words", async () => {
    const message = async (body: unknown) => (await post(body)).json().badRequest.message;
    expect(await message({ thing: { name: 1 } })).toBe(
      "Invalid input for field/attribute name. Value: 1. 1 is not of type 'string'",
    );
    expect(await message({ thing: { name: '' } })).toBe(
      "Invalid input for field/attribute name. Value: . '' should be non-empty",
    );
    expect(await message({ thing: { name: 'a', x: 1 } })).toBe(
      "Invalid input for field/attribute thing. Value: {'name': 'a', 'x': 1}. Additional properties are not allowed ('x' was unexpected)",
    );
    expect(await message({ thing: { name: 'a', size: 0 } })).toBe(
      'Invalid input for field/attribute size. Value: 0. 0 is less than the minimum of 1',
    );
    expect(await message({})).toBe("'thing' is a required property");
    expect(await message([])).toBe("[] is not of type 'object'");
  });
  it.each([
    ['no JSON', '{'],
    ['empty', ''],
    ['a NUL', '{"thing":{"name":"\\u0000"}}'],
    ['a lone surrogate', '{"thing":{"name":"\\ud800"}}'],
    ['a prototype', '{"thing":{"name":"a","__proto__":{"x":1}}}'],
    ['deep nesting', `{"thing":${'['.repeat(200)}${']'.repeat(200)}}`],
  ])('that holds %s is malformed', async (_, body) => {
    const answer = await post(body);
    expect([answer.statusCode, answer.json().badRequest.message]).toEqual([400, 'Malformed request body']);
  });
  it('over the limit is 413, of another type 415', async () => {
    expect((await post({ thing: { name: 'a'.repeat(2000) } })).statusCode).toBe(413);
    expect((await post('<a/>', '2.1', { 'content-type': 'application/xml' })).statusCode).toBe(415);
  });
});

describe('a slash at the end', () => {
  it('names a thing without an id, where Nova and Glance are meant', async () => {
    expect((await call('GET', '/compute/v2.1/things/7/')).statusCode).toBe(404);
    expect((await call('GET', '/compute/v2.1/things/7/?a=b')).statusCode).toBe(404);
    expect((await call('GET', '/compute/v2.1/things/7?a=/')).statusCode).toBe(200);
    expect((await call('GET', '/compute/v2.1/', { token: null })).statusCode).toBe(200);
  });
});

describe('faults', () => {
  it('say what the domain says', async () => {
    expect((await call('GET', '/compute/v2.1/things/none')).json()).toEqual({
      itemNotFound: { code: 404, message: 'Thing none could not be found.' },
    });
  });
  it('hide what nobody foresaw and log it', async () => {
    const answer = await call('GET', '/compute/v2.1/things/boom');
    expect(answer.statusCode).toBe(500);
    expect(answer.body).not.toContain('secret');
    const line = lines.find((l) => l.level === 'error');
    expect((line!.fields.err as Error).message).toBe('secret text');
    expect(line?.fields.requestId).toBe(answer.headers['x-openstack-request-id']);
  });
  it('ask to come back when something is away', async () => {
    const answer = await call('GET', '/compute/v2.1/things/away');
    expect([answer.statusCode, answer.headers['retry-after']]).toEqual([503, '1']);
    expect(answer.json().serviceUnavailable.code).toBe(503);
    expect(answer.body).not.toContain('10.0.0.1');
  });
  it("are policy's in Nova's words", async () => {
    expect((await call('DELETE', '/compute/v2.1/things/1')).json()).toEqual({
      forbidden: { code: 403, message: "Policy doesn't allow os_compute_api:os-services:update to be performed." },
    });
    expect((await call('DELETE', '/compute/v2.1/things/1', { token: 'admin' })).statusCode).toBe(204);
  });

  it('tells of each refusal of somebody known, and of nothing else', async () => {
    refused.length = 0;
    await call('DELETE', '/compute/v2.1/things/1', { token: 'admin' });
    await call('DELETE', '/compute/v2.1/things/1', { token: null });
    await call('GET', '/compute/v2.1/things/none');
    const answer = await call('DELETE', '/compute/v2.1/things/7');
    expect(refused).toMatchObject([
      {
        requestId: answer.headers['x-openstack-request-id'],
        operation: 'DELETE /compute/v2.1/things/:id',
        rule: 'os_compute_api:os-services:update',
        params: { id: '7' },
        status: 403,
        token: { userId: 'u1', projectId: 'p1' },
      },
    ]);
  });
  it('OSSA-2021-006 keep nothing of paths that nobody serves', async () => {
    await call('GET', '/compute/v2.1/nowhere');
    const before = routes.size;
    for (let n = 0; n < 500; n++) await call('GET', `/compute/v2.1/nowhere-${n}/${n}`);
    expect([routes.size, routes.has(undefined)]).toEqual([before, true]);
  });
  it("for a wrong method are each service's own", async () => {
    expect((await call('PUT', '/compute/v2.1/things')).statusCode).toBe(404);
    const answer = await call('PUT', '/identity/v3/things');
    expect([answer.statusCode, answer.headers.allow]).toEqual([405, 'GET, HEAD']);
  });
  it.each([
    '/compute/v2.1/things/%00',
    '/compute/v2.1/things/%ZZ',
    '/compute/v2.1/things/1?a=%00',
    '/%',
    '/compute/v2.1/things/%ff',
  ])('answer the malformed URL %s', async (url) => {
    expect([400, 404]).toContain((await call('GET', url)).statusCode);
  });
  it.each(['constructor', '__proto__', 'toString', 'hasOwnProperty'])(
    'are not fooled by a query key %s',
    async (key) => {
      expect([200, 400]).toContain((await call('GET', `/compute/v2.1/things/1?${key}=1&${key}=2`)).statusCode);
    },
  );
});

it("a caller's own request id is logged", async () => {
  const id = 'req-11111111-2222-3333-4444-555555555555';
  const answer = await call('GET', '/compute/v2.1/things/1', { headers: { 'x-openstack-request-id': id } });
  expect(
    lines.some(
      (l) => l.fields.globalRequestId === id && l.fields.requestId === answer.headers['x-openstack-request-id'],
    ),
  ).toBe(true);
});

it('a request to an app that drains is answered, and its connection ends', async () => {
  const answer = async () => {
    const { statusCode, headers } = await call('GET', '/compute/v2.1/things/1');
    return [statusCode, headers.connection];
  };
  expect(await answer()).toEqual([200, 'keep-alive']);
  await app.drain(0);
  expect(await answer()).toEqual([200, 'close']);
});

it('an app that closes waits for no connection that has said nothing', async () => {
  const silent = connect(await app.listen(0, '127.0.0.1'), '127.0.0.1');
  await once(silent, 'connect');
  const ended = once(silent, 'close');
  await app.close();
  await ended;
});
