import { allOperations } from '@omnivisor/openstack';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { IdentityCloud } from './testing/identity-cloud.js';

let cloud: IdentityCloud;
let admin: string;
beforeAll(async () => {
  cloud = await IdentityCloud.start();
  admin = await cloud.adminToken();
});
afterAll(() => cloud?.stop());

const long = 'x'.repeat(300);
const texts = [
  '%00',
  '%ff',
  '..%2f..',
  "'%20or%201=1--",
  long,
  '%F0%9F%98%80',
  '__proto__',
  'constructor',
  '%7B%7D',
  '-1',
];
const values: unknown[] = [
  null,
  true,
  -1,
  1e308,
  '',
  ' ',
  long,
  [],
  {},
  [[]],
  'a\u0000b',
  '\ud800',
  '{{7*7}}',
  { $ne: 1 },
  ['x', 1],
];
const envelopes = [
  'project',
  'user',
  'role',
  'domain',
  'group',
  'region',
  'service',
  'endpoint',
  'application_credential',
  'auth',
  'tags',
];
const fields = [
  'name',
  'domain_id',
  'enabled',
  'description',
  'password',
  'roles',
  'tags',
  'options',
  'type',
  'url',
  'identity',
  'id',
  'parent_id',
];
const queries = [
  'name=%00',
  'limit=-1',
  'enabled=maybe',
  'name__contains=%25',
  '__proto__=1',
  'domain_id[]=1',
  `name=${long}`,
  'name=a&name=b',
];

const operations = allOperations().filter(
  (o) =>
    o.spec.service === 'identity' && o.controller.name !== 'IdentityDiscovery' && !o.spec.path.endsWith('/auth/tokens'),
);

it('covers every operation', () => expect(operations.length).toBeGreaterThan(90));

it("hostile values of each route get the service's own fault and never a 5xx", async () => {
  const bad: string[] = [];
  const check = async (method: string, path: string, body?: unknown) => {
    const answer = await cloud.call(method, path, { token: admin, body });
    const fault = answer.status < 400 || method === 'HEAD' || answer.body.error?.code === answer.status;
    if (answer.status >= 500 || !fault)
      bad.push(`${method} ${path} ${JSON.stringify(body)}: ${answer.status} ${JSON.stringify(answer.body)}`);
    if (JSON.stringify(answer.body).includes(' at ')) bad.push(`${method} ${path} shows a stack`);
  };
  for (const { spec } of operations) {
    for (const text of texts) await check(spec.method, spec.path.replace(/:[a-z_]+/g, text));
    const path = spec.path.replace(/:[a-z_]+/g, 'default');
    if (spec.method === 'DELETE') continue;
    if (spec.method === 'GET') for (const q of queries) await check('GET', `${path}?${q}`);
    if (!spec.body) continue;
    for (const value of values) {
      await check(spec.method, path, value);
      for (const envelope of envelopes) await check(spec.method, path, { [envelope]: value });
    }
    const envelope = envelopes.find((e) => path.includes(e)) ?? 'project';
    for (const field of fields)
      for (const value of values) await check(spec.method, path, { [envelope]: { name: 'n', [field]: value } });
    await check(spec.method, path, '{"a":1');
    await check(spec.method, path, `{"${envelope}":{"name":"n","extra":"${'y'.repeat(40_000)}"}}`);
    await check(spec.method, path, `{"${envelope}":{"name":"n","extra":${'['.repeat(5_000)}${']'.repeat(5_000)}}}`);
  }
  expect(bad).toEqual([]);
  expect(cloud.lines).toEqual([]);
}, 60_000);

it('nobody gets in without a token', async () => {
  for (const { spec } of operations) {
    if (spec.policy === 'open') continue;
    const answer = await cloud.call(spec.method, spec.path.replace(/:[a-z_]+/g, 'default'), {});
    expect([spec.path, answer.status]).toEqual([spec.path, 401]);
  }
});
