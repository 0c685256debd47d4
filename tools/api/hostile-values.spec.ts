import { VersionTable } from '@omnivisor/openstack';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { z } from 'zod';
import { type ApiAnswer, ApiCloud } from '../simulate/api-cloud.js';
import { everyRoute, filled, nameOf, ownNames, type Route } from './paths.js';
import { type Belongings, settle } from './people.js';
import { bodiesOf, contentType, SEALED, SECRET } from './samples.js';

let api: ApiCloud;
/** May do everything, so that policy hides nothing. */
let mighty: Belongings;
beforeAll(async () => {
  api = await ApiCloud.start();
  const member = await settle(api, 'alpha');
  for (const name of ['admin', 'service']) {
    const { roles } = await api.does('identity', 'GET', `/v3/roles?name=${name}`, { token: api.admin });
    const grant = `/v3/projects/${member.projectId}/users/${member.userId}/roles/${roles[0].id}`;
    await api.does('identity', 'PUT', grant, { token: api.admin });
  }
  await api.does('compute', 'PUT', `/v2.1/os-quota-sets/${member.projectId}`, {
    token: api.admin,
    body: { quota_set: { instances: -1, cores: -1, ram: -1, server_groups: -1, key_pairs: -1 } },
  });
  const token = await api.login(member.userName, member.password, { project: { id: member.projectId } });
  mighty = { ...member, token };
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

/** What is said of a refusal in each service's own form; undefined when it is in another. */
const faultIn = (service: string, { status, text, json, headers }: ApiAnswer): unknown => {
  if (service === 'identity' || status === 401) return json?.error?.code === status ? json.error.message : undefined;
  if (service === 'network')
    return typeof json?.NeutronError?.type === 'string' ? json.NeutronError.message : undefined;
  if (service === 'placement') return json?.errors?.[0]?.status === status ? json.errors[0].detail : undefined;
  if (service === 'image') return text.includes(`<title>${status} `) ? text : undefined;
  const [[, fault] = []] = Object.entries((json ?? {}) as Record<string, { code: number; message: string }>);
  return fault?.code === status && headers['content-type']?.startsWith('application/json') ? fault.message : undefined;
};

class Watch {
  private readonly refused = new Set<string>();
  private readonly from = api.cloud.store.head();
  readonly wrong: string[] = [];

  look(route: Route, answer: ApiAnswer, what: string): void {
    const { service, method } = route.spec;
    const say = (problem: string) =>
      this.wrong.push(`${problem}: ${what.slice(0, 300)} -> ${answer.status} ${answer.text.slice(0, 300)}`);
    if (answer.status >= 500 && answer.status !== 501) say('an error of the service');
    if (/\bat .*\.[mc]?[tj]s:\d|node_modules/.test(answer.text)) say('shows its insides');
    if (answer.status < 400) return;
    if ([SECRET, SEALED].some((secret) => answer.text.includes(secret))) say('repeats a secret');
    this.refused.add(answer.headers['x-openstack-request-id']!);
    if (method !== 'HEAD' && typeof faultIn(service, answer) !== 'string') say('not a fault of the service');
  }

  /** What requests left behind that were refused; what they took back does not count. */
  async left(): Promise<string[]> {
    const events = await api.cloud.store.readAll(await this.from, 100_000);
    const theirs = events.filter((e) => this.refused.has(e.context.requestId)).map((e) => e.type as string);
    for (const [taken, returned] of TAKEN_BACK)
      for (const _ of theirs.filter((type) => type === returned)) {
        theirs.splice(theirs.indexOf(taken), 1);
        theirs.splice(theirs.indexOf(returned), 1);
      }
    return theirs.filter((type) => !SAYS_NOTHING_WAS_MADE.test(type));
  }
}
const SAYS_NOTHING_WAS_MADE = /^(?:RequestRefused|RefusalsCounted|[A-Z]\w*CreateAbandoned)$/;
/** What is taken before it is known whether a request can be granted, and how it is given back. */
const TAKEN_BACK = [
  ['QuotaReserved', 'QuotaReleased'],
  ['NetworkQuotaTaken', 'NetworkQuotaReturned'],
  ['IdentityNameTaken', 'IdentityNameGivenBack'],
] as const;

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
      const watch = new Watch();
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

const queryKeys = ({ spec, version }: Route): string[] => {
  const usual = ['limit', 'marker', 'sort_key', 'sort_dir', 'name', 'status', 'fields', 'x'];
  if (!spec.query) return usual;
  const [major = 1, minor = 0] = (version ?? '1.0').split('.').map(Number);
  const table = new VersionTable(
    Array.isArray(spec.query) ? spec.query : [['1.0', spec.query]],
  ) as VersionTable<z.ZodType>;
  const { shape } = (table.at({ major, minor }) ?? {}) as { shape?: object };
  return [...new Set([...Object.keys(shape ?? {}), ...usual])];
};

describe.each(named(routes))('%s', (_, route) => {
  it('refuses hostile names and queries with its own fault', async () => {
    const watch = new Watch();
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
  const watch = new Watch();
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
