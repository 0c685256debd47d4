import { allOperations, type OperationSpec, VersionTable } from '@omnivisor/openstack';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { z } from 'zod';
import { computeControllers } from './compute.api.js';
import { type ComputeApp, computeApp, IMAGE } from './compute-app.fixtures.js';

let app: ComputeApp;
let server: string;
beforeAll(async () => {
  app = await computeApp();
  const answer = await app.call('POST', '/v2.1/servers', {
    body: { server: { name: 'mine', flavorRef: '1', imageRef: IMAGE, metadata: { a: 'b' } } },
  });
  server = (answer.body as { server: { id: string } }).server.id;
  await app.activate(server);
});
afterAll(() => app?.close());

const operations = allOperations().filter((o) => (computeControllers as readonly unknown[]).includes(o.controller));
const named = operations.map(
  ({ spec }) => [`${spec.method} ${spec.path} ${spec.versions?.join('-') ?? ''}`, spec] as const,
);
const versionsOf = (spec: OperationSpec) => {
  const [from = '2.1', to = '2.104'] = spec.versions ?? [];
  return [...new Set([from, to])];
};

/** What stands in the wallet of every attacker. */
const values: readonly unknown[] = [
  null,
  true,
  -1,
  0,
  1e308,
  2 ** 53,
  '',
  ' ',
  '\u0000',
  '\ud800',
  '../../etc/passwd',
  "' OR 1=1 --",
  '{jndi:ldap://x}',
  '%00',
  '(a+)+$',
  'x'.repeat(70_000),
  '\u202e\u0007',
  [],
  {},
  [[[[]]]],
  { constructor: { prototype: {} } },
  { toString: 1, valueOf: null },
];

/** Bodies that are almost right: one field at a time is hostile. */
const bodiesFor = (schema: z.ZodType | undefined): unknown[] => {
  const bodies: unknown[] = [...values];
  const shape = shapeOf(schema);
  for (const [outer, inner] of Object.entries(shape ?? {})) {
    for (const value of values) bodies.push({ [outer]: value });
    for (const field of Object.keys(shapeOf(inner) ?? {}))
      for (const value of values) bodies.push({ [outer]: { ...almost[outer], [field]: value } });
  }
  return bodies;
};
const shapeOf = (schema: unknown): Record<string, unknown> | undefined =>
  (schema as { shape?: Record<string, unknown> } | undefined)?.shape;

const almost: Readonly<Record<string, object>> = {
  server: { name: 'x', flavorRef: '1', imageRef: IMAGE, networks: 'none' },
  flavor: { name: 'f', ram: 1, vcpus: 1, disk: 1 },
  keypair: { name: 'k' },
  server_group: { name: 'g', policy: 'affinity' },
  quota_set: {},
};

const pathOf = (spec: OperationSpec, id: string): string =>
  spec.path.replace(/^\/v2\.1\/servers\/:id/, `/v2.1/servers/${server}`).replace(/:[a-z]+/g, encodeURIComponent(id));

const faultKeys = new Set([
  'badRequest',
  'forbidden',
  'itemNotFound',
  'conflictingRequest',
  'notImplemented',
  'overLimit',
  'unauthorized',
  'computeFault',
]);
const expectFault = (answer: { status: number; text: string; body: unknown }, what: string) => {
  if (answer.status < 400) return;
  expect(answer.status === 501 || answer.status < 500, `${what}: ${answer.status} ${answer.text.slice(0, 300)}`).toBe(
    true,
  );
  const [key, ...rest] = Object.keys(answer.body as object);
  expect(rest, what).toEqual([]);
  expect(faultKeys.has(key!), `${what}: ${answer.text.slice(0, 300)}`).toBe(true);
  expect((answer.body as Record<string, { code: number }>)[key!]!.code).toBe(answer.status);
  expect(answer.text).not.toMatch(/\bat .*\.[tj]s:\d|node_modules/);
};

describe.each(named)('%s', (_, spec) => {
  it('answers hostile bodies with its own fault', async () => {
    if (!spec.body) return;
    for (const version of versionsOf(spec)) {
      const table = new VersionTable(
        Array.isArray(spec.body) ? spec.body : [['1.0', spec.body]],
      ) as VersionTable<z.ZodType>;
      const schema = table.at({ major: 2, minor: Number(version.split('.')[1]) });
      for (const as of ['member', 'admin'] as const)
        for (const body of bodiesFor(schema)) {
          const answer = await app.call(spec.method, pathOf(spec, '1'), { version, as, body });
          expectFault(answer, `${version} ${JSON.stringify(body)?.slice(0, 200)}`);
        }
    }
    expect(app.complaints.splice(0)).toEqual([]);
  }, 60_000);

  it('answers hostile paths and queries with its own fault', async () => {
    if (spec.method !== 'GET') return;
    const queries = [
      'limit=-1',
      'limit=x',
      'marker=%ff',
      'marker=',
      'sort_key=__proto__',
      'name=(',
      'status=',
      'changes-since=x',
      'constructor=1',
      'is_public=odd',
      'start=x',
      'host=%00',
    ];
    for (const version of versionsOf(spec))
      for (const as of ['member', 'admin'] as const) {
        for (const id of ['../x', "'", '%', '\u{1f600}', '__proto__', 'constructor', 'x'.repeat(400)])
          expectFault(await app.call('GET', pathOf(spec, id), { version, as }), `${version} id ${id.slice(0, 40)}`);
        for (const query of queries)
          expectFault(await app.call('GET', `${pathOf(spec, '1')}?${query}`, { version, as }), `${version} ?${query}`);
      }
    expect(app.complaints.splice(0)).toEqual([]);
  });

  it("does not know another project's server", async () => {
    if (!spec.path.startsWith('/v2.1/servers/:id')) return;
    for (const version of versionsOf(spec)) {
      const body = good[spec.path.slice('/v2.1/servers/:id'.length)]?.[spec.method];
      const answer = await app.call(spec.method, pathOf(spec, 'a'), {
        version,
        as: 'other',
        ...(spec.body ? { body } : {}),
      });
      expect(answer, `${version} ${answer.text}`).toMatchObject({
        status: 404,
        body: { itemNotFound: { message: `Instance ${server} could not be found.` } },
      });
    }
  });
});

const good: Readonly<Record<string, Record<string, unknown>>> = {
  '': { PUT: { server: { name: 'x' } } },
  '/action': { POST: { 'os-stop': null } },
  '/metadata': { POST: { metadata: {} }, PUT: { metadata: {} } },
  '/metadata/:key': { PUT: { meta: { a: 'b' } } },
  '/tags': { PUT: { tags: [] } },
  '/remote-consoles': { POST: { remote_console: { protocol: 'vnc', type: 'novnc' } } },
};
