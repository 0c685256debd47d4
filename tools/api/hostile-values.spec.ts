import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ApiCloud } from '../simulate/api-cloud.js';
import { everyRoute, filled, nameOf, ownNames, queryKeys, type Route } from './paths.js';
import { type Belongings, settleMighty } from './people.js';
import { bodiesOf, contentType } from './samples.js';
import { faultIn, Watch } from './watch.js';

let api: ApiCloud;
let mighty: Belongings;
beforeAll(async () => {
  api = await ApiCloud.start();
  mighty = await settleMighty(api, 'alpha');
});
afterAll(() => api?.stop());

const HUGE = 'x'.repeat(70_000);
const TEXTS: readonly string[] = [
  '',
  ' ',
  '\u0000',
  '../../etc/passwd',
  "' OR 1=1 --",
  '%00',
  '(a+)+$',
  '\u{1f600}\u202e\u0007',
  '__proto__',
  HUGE,
];
const VALUES: readonly unknown[] = [
  ...TEXTS,
  '\ud800',
  null,
  true,
  -1,
  1.5,
  2 ** 53,
  1e308,
  [],
  {},
  [null],
  [[[]]],
  { constructor: { prototype: {} }, toString: 1 },
];

/** The sample with one of its parts at a time replaced by each hostile value, left out, or joined by a stranger. */
const spoilt = (sample: unknown): unknown[] => {
  if (typeof sample !== 'object' || sample === null) return [...VALUES];
  const parts = Object.keys(sample).flatMap((key) => {
    const put = (value: unknown) => {
      if (Array.isArray(sample)) return sample.map((own, i) => (String(i) === key ? value : own));
      return { ...sample, [key]: value };
    };
    const without = { ...sample, [key]: undefined };
    return [...spoilt((sample as Record<string, unknown>)[key]).map(put), without];
  });
  return [...VALUES, { ...sample, colour: 'red' }, ...parts];
};

const send = (route: Route, path: string, body?: unknown, headers: Record<string, string> = {}) =>
  api.call(route.spec.service, route.spec.method, path, {
    token: mighty.token,
    version: route.version,
    ...(body === undefined ? {} : { body }),
    headers: { 'content-type': contentType(route.spec), ...headers },
  });

const routes = everyRoute();
const named = (list: readonly Route[]) => list.map((route) => [nameOf(route), route] as const);

const FIRST: Readonly<Record<string, string>> = { compute: '2.1', placement: '1.0' };
/** At the first microversion too, where its schema is another one. */
const withBody = routes
  .filter((r) => r.spec.body || r.spec.method === 'PATCH')
  .flatMap((r) => {
    const first = r.spec.versions?.[0] ?? FIRST[r.spec.service];
    return first !== undefined && Array.isArray(r.spec.body) ? [{ ...r, version: first }, r] : [r];
  });
describe.each(withBody.map((route) => [`${nameOf(route)} at ${route.version ?? 'its version'}`, route] as const))(
  '%s',
  (_, route) => {
    it('refuses hostile bodies with its own fault and makes nothing of them', async () => {
      const watch = new Watch(api);
      const path = filled(route, ownNames(route, mighty));
      for (const sample of bodiesOf(route.spec, mighty))
        for (const body of spoilt(sample)) watch.look(route, await send(route, path, body), JSON.stringify(body) ?? '');
      for (const text of [
        '',
        '{',
        '{"a":1}x',
        '"\\ud800"',
        `${'['.repeat(5_000)}${']'.repeat(5_000)}`,
        '{"__proto__":{}}',
      ])
        watch.look(route, await send(route, path, text), text);
      watch.look(route, await send(route, path, Buffer.from([0x22, 0xff, 0x22])), 'no UTF-8');
      watch.look(route, await send(route, path, '<a/>', { 'content-type': 'application/xml' }), 'XML');
      expect(watch.wrong).toEqual([]);
      expect(await watch.left()).toEqual([]);
    });

    it('refuses a body over its limit', async () => {
      const limit = route.spec.bodyLimit ?? 1024 * 1024;
      const answer = await send(route, filled(route, ownNames(route, mighty)), ' '.repeat(limit + 1));
      expect(answer.status).toBe(413);
      expect(faultIn(route.spec.service, answer)).toEqual(expect.any(String));
    });
  },
);

describe.each(named(routes))('%s', (_, route) => {
  it('refuses hostile names and queries with its own fault', async () => {
    const watch = new Watch(api);
    const body = route.spec.method === 'GET' ? undefined : bodiesOf(route.spec, mighty)[0];
    const names = ownNames(route, mighty);
    for (const at of names.keys())
      for (const text of TEXTS.filter((t) => t.length > 1 && t.length < 1_000).concat('x'.repeat(400), '-1', '{}')) {
        const path = filled(
          route,
          names.map((own, i) => (i === at ? text : own)),
        );
        watch.look(route, await send(route, path, body), path);
      }
    if (route.spec.method === 'GET')
      for (const key of queryKeys(route))
        for (const text of [...TEXTS.slice(0, -1), '-1', '99999999999999999999', 'x'.repeat(2_000)]) {
          const path = `${filled(route, names)}?${new URLSearchParams([[key, text]])}`;
          watch.look(route, await send(route, path), path);
        }
    for (const query of ['?%ff=%ff', '?a[b]=c', '?&&=&', '?limit=1&limit=x&limit=2'])
      if (route.spec.method === 'GET') watch.look(route, await send(route, filled(route, names) + query), query);
    expect(watch.wrong).toEqual([]);
    expect(await watch.left()).toEqual([]);
  });
});

it.each(['identity', 'compute', 'network', 'image', 'placement'])('%s refuses hostile headers', async (service) => {
  const route = routes.find((r) => r.spec.service === service && r.spec.method === 'GET' && !r.path.includes(':'))!;
  const ask = (headers: Record<string, string>) => send(route, route.path, undefined, headers);
  const watch = new Watch(api);
  for (const token of ['', 'x', HUGE.slice(0, 10_000), '\u00ff', 'gAAAA==', `${mighty.token}x`]) {
    const answer = await ask({ 'x-auth-token': token });
    watch.look(route, answer, token);
    expect([200, 401]).toContain(answer.status);
  }
  for (const version of [
    '',
    'x',
    `${service} x`,
    `${service} 9.9`,
    `${service} 999999999999.1`,
    `${service} -1`,
    ', ,',
  ])
    watch.look(route, await ask({ 'openstack-api-version': version }), version);
  for (const id of ['x', 'req-x', '\u00ff', HUGE.slice(0, 10_000)])
    watch.look(route, await ask({ 'x-openstack-request-id': id }), id);
  expect(watch.wrong).toEqual([]);
});

it('works as before after all of it', async () => {
  expect(api.complaints).toEqual([]);
  const { servers } = await api.does('compute', 'GET', '/v2.1/servers?limit=1', { token: mighty.token });
  expect(servers).toHaveLength(1);
});
