import { once } from 'node:events';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { createOpenStackApp, limitedAs, type OpenStackApp, RequestLimiter } from './index.js';
import { person } from './testing/person.js';
import { ThingsModule } from './testing/things.js';

const quiet = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
let app: OpenStackApp;
beforeAll(async () => {
  app = await createOpenStackApp({
    module: ThingsModule,
    services: ['identity', 'compute', 'network', 'image', 'placement'],
    tokens: () => ({ validate: async (t) => (t.startsWith('p') ? person(t, 'u', ['member', 'reader']) : null) }),
    logger: quiet,
    limiter: new RequestLimiter({ lists: 3, wrongTokens: 2, uploads: 0 }),
    headersTimeout: 200,
  });
});
afterAll(() => app?.close());

const list = (token: string, remoteAddress: string) =>
  app.fastify.inject({
    ...{ url: '/compute/v2.1/new', remoteAddress },
    headers: { 'x-auth-token': token, 'openstack-api-version': 'compute 2.15' },
  });
const statuses = async (asks: readonly (readonly [string, string])[]) => {
  const seen: number[] = [];
  for (const [token, address] of asks) seen.push((await list(token, address)).statusCode);
  return seen;
};

describe('a limit', () => {
  it('holds for a source, whatever its projects, and says when to come again', async () => {
    expect(
      await statuses([
        ['p1', '10.0.0.1'],
        ['p2', '10.0.0.1'],
        ['p3', '10.0.0.1'],
      ]),
    ).toEqual([200, 200, 200]);
    const answer = await list('p4', '10.0.0.1');
    expect([answer.statusCode, answer.json().overLimit?.code]).toEqual([429, 429]);
    const wait = Number(answer.headers['retry-after']);
    expect(wait > 0 && wait <= 60).toBe(true);
    expect(answer.json().overLimit.retryAfter).toBe(String(wait));
    expect((await list('p4', '10.0.0.2')).statusCode).toBe(200);
  });

  it('holds for a project, from wherever it asks', async () => {
    const from = (n: number) => ['p5', `10.0.1.${n}`] as const;
    expect(await statuses([from(1), from(2), from(3), from(4)])).toEqual([200, 200, 200, 429]);
    expect((await list('p6', '10.0.1.9')).statusCode).toBe(200);
  });

  it('takes a whole network of IPv6 for one source, and an embedded IPv4 address for what it is', async () => {
    const limiter = new RequestLimiter({ lists: 1 });
    await limiter.bySource('lists', '2001:db8:0:1::1');
    await expect(limiter.bySource('lists', '2001:db8:0:1:ffff::2')).rejects.toMatchObject({ kind: 'rateLimited' });
    await limiter.bySource('lists', '2001:db8:0:2::1');
    await limiter.bySource('lists', '::ffff:10.0.0.1');
    await expect(limiter.bySource('lists', '10.0.0.1')).rejects.toMatchObject({ kind: 'rateLimited' });
  });

  it('of wrong tokens stops guessing, and touches no right one', async () => {
    expect(
      await statuses([
        ['x', '10.0.2.1'],
        ['y', '10.0.2.1'],
      ]),
    ).toEqual([401, 401]);
    const other = () =>
      app.fastify.inject({
        url: '/compute/v2.1/things/1',
        remoteAddress: '10.0.2.1',
        headers: { 'x-auth-token': 'z' },
      });
    expect((await other()).statusCode).toBe(429);
    expect((await list('p7', '10.0.2.1')).statusCode).toBe(200);
  });

  it('is none where it is 0 or not given', async () => {
    const limiter = new RequestLimiter({ uploads: 0 });
    const unaware = new RequestLimiter({ lists: 1 }, false);
    const asked = Array.from({ length: 100 }, () => [
      limiter.bySource('uploads', '10.0.0.1'),
      limiter.byProject('lists', 'p1'),
      unaware.bySource('lists', '10.0.0.1'),
    ]);
    expect(new Set((await Promise.allSettled(asked.flat())).map(({ status }) => status))).toEqual(
      new Set(['fulfilled']),
    );
  });

  it('is over after a minute', async () => {
    vi.useFakeTimers();
    const limiter = new RequestLimiter({ logins: 1 });
    await limiter.bySource('logins', '10.0.0.1');
    await expect(limiter.bySource('logins', '10.0.0.1')).rejects.toMatchObject({ details: { retryAfter: 60 } });
    vi.advanceTimersByTime(60_001);
    await limiter.bySource('logins', '10.0.0.1');
    vi.useRealTimers();
  });
});

it.each([
  ['identity', 'POST', '/v3/auth/tokens', 'logins'],
  ['identity', 'GET', '/v3/auth/tokens', undefined],
  ['identity', 'POST', '/v3/users/:user_id/password', 'logins'],
  ['compute', 'GET', '/v2.1/servers', 'lists'],
  ['compute', 'GET', '/v2.1/servers/detail', 'lists'],
  ['compute', 'GET', '/v2.1/servers/:id', undefined],
  ['compute', 'POST', '/v2.1/servers', undefined],
  ['network', 'GET', '/v2.0/:kind(networks|ports)/:id', undefined],
  ['image', 'GET', '/v2/images', 'lists'],
  ['image', 'GET', '/v2/images/:id/file', undefined],
])('%s %s %s counts as %s', (service, method, path, expected) =>
  expect(limitedAs({ service, method, path })).toBe(expected),
);
it('an upload counts as one, a patch and a discovery document as nothing', () => {
  const image = { service: 'image', path: '/v2/images/:id/file', stream: true };
  expect(limitedAs({ ...image, method: 'PUT' })).toBe('uploads');
  expect(limitedAs({ ...image, method: 'PATCH' })).toBeUndefined();
  expect(limitedAs({ service: 'identity', method: 'GET', path: '/v3', policy: 'open' })).toBeUndefined();
});

it('who does not say in time what he wants is cut off', async () => {
  const port = await app.listen(0, '127.0.0.1');
  const client = connect(port, '127.0.0.1');
  client.write('GET /compute/v2.1/things HTTP/1.1\r\nhost: x\r\nx: ');
  let answer = '';
  client.on('data', (data) => {
    answer += data;
  });
  const slow = setInterval(() => client.write('y'), 20);
  await once(client, 'close');
  clearInterval(slow);
  expect(answer).toMatch(/^HTTP\/1\.1 408 /);
});
