import { VersionTable } from '@omnivisor/openstack';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { z } from 'zod';
import { ApiCloud } from '../simulate/api-cloud.js';
import { everyRoute, filled, nameOf, namesIn, nobodys, ownNames, type Route, wantedBy } from './paths.js';
import { type Belongings, forgedIdentity, settle } from './people.js';
import { bodiesOf, contentType } from './samples.js';

let api: ApiCloud;
let owner: Belongings;
let nobody: Belongings;
let stranger: Belongings;
beforeAll(async () => {
  api = await ApiCloud.start();
  owner = await settle(api, 'alpha');
  stranger = await settle(api, 'omega', '10.8.0');
  nobody = nobodys(owner);
});
afterAll(() => api?.stop());

const routes = everyRoute();
const named = (list: readonly Route[]) => list.map((route) => [nameOf(route), route] as const);

/** What a stranger is answered, without the names that make the two questions differ. */
const ask = async ({ spec, version }: Route, path: string, body?: unknown) => {
  const raw = spec.stream && spec.method !== 'PATCH';
  const answer = await api.call(spec.service, spec.method, path, {
    token: stranger.token,
    version,
    ...(body === undefined ? {} : { body: raw ? Buffer.from(String(body)) : body }),
    headers: { 'content-type': contentType(spec), ...forgedIdentity(owner) },
  });
  let text = answer.text.replace(/req-[0-9a-f-]{36}/g, '<request>').replace(/\b[0-9a-f]{64}\b/g, '<digest>');
  for (const key of Object.keys(owner) as (keyof Belongings)[])
    text = text.replaceAll(owner[key], `<${key}>`).replaceAll(nobody[key], `<${key}>`);
  return { status: answer.status, text };
};

/** All ways of naming something foreign in a path: all of its names, or one of several. */
const foreignNames = (route: Route): ((foreign: Belongings) => string[])[] => {
  const names = namesIn(route);
  const things = names.filter((n) => n.of && !n.isWord);
  if (things.length === 0) return [];
  const all = (foreign: Belongings) => ownNames(route, foreign);
  if (things.length === 1) return [all];
  const one = (at: number) => (foreign: Belongings) =>
    ownNames(route, stranger).map((name, i) => (i === at ? names[i]!.of!(foreign) : name));
  return [all, ...names.flatMap((name, at) => (things.includes(name) ? [one(at)] : []))];
};

const snapshot = async () => {
  const seen: Record<string, string> = {};
  for (const route of routes) {
    if (route.spec.method !== 'GET' || route.path.endsWith('/action')) continue;
    const { service } = route.spec;
    const path = filled(route, ownNames(route, owner));
    const { text } = await api.call(service, 'GET', path, { token: owner.token, version: route.version });
    seen[nameOf(route)] = text.replace(/req-[0-9a-f-]{36}/g, '');
  }
  return seen;
};

describe.each(named(routes.filter((r) => foreignNames(r).length > 0)))('%s', (_, route) => {
  it("OSSA-2024-005 OSSA-2020-002 OSSN-0102 answers about another project's things as about what never was", async () => {
    for (const names of foreignNames(route)) {
      const bodies = (who: Belongings) => bodiesOf(route.spec, { ...stranger, word: who.word });
      for (const [i, body] of bodies(owner).entries()) {
        const foreign = await ask(route, filled(route, names(owner)), body);
        expect(foreign, JSON.stringify(body)).toEqual(
          await ask(route, filled(route, names(nobody)), bodies(nobody)[i]),
        );
        if (route.spec.method !== 'GET') expect(foreign.status).toBeGreaterThanOrEqual(400);
      }
    }
  });
});

const withReferences = routes.filter((r) => r.spec.body && r.spec.policy !== 'open');
describe.each(named(withReferences))('%s', (_, route) => {
  it("takes another project's things in its body for what never was", async () => {
    const path = filled(route, ownNames(route, stranger));
    const [mine, foreign, unknown] = [stranger, owner, nobody].map((who) =>
      bodiesOf(route.spec, { ...who, word: stranger.word }),
    ) as [readonly unknown[], readonly unknown[], readonly unknown[]];
    for (const i of foreign.keys())
      for (const [one, other] of references(mine[i], foreign[i], unknown[i])) {
        const [answer, expected] = [await ask(route, path, one), await ask(route, path, other)];
        expect(answer.status, `${JSON.stringify(one)} ${answer.text}`).toBe(expected.status);
        // What is accepted of anybody is no reference: it makes things, with names of their own.
        if (answer.status >= 400) expect(answer).toEqual(expected);
      }
  });
});

/** The stranger's own body with one reference at a time to somebody else's, and the same with nobody's. */
const references = (mine: unknown, foreign: unknown, unknown: unknown): (readonly [unknown, unknown])[] => {
  if (JSON.stringify(foreign) === JSON.stringify(unknown)) return [];
  if (typeof foreign !== 'object' || foreign === null) return [[foreign, unknown]];
  const [own, theirs, nobodys] = [mine, foreign, unknown].map((body) => Object.entries(body as object)) as [
    [string, unknown][],
    [string, unknown][],
    [string, unknown][],
  ];
  return own.flatMap(([key, value], i) => {
    const [[theirKey, theirValue], [nobodysKey, nobodysValue]] = [theirs[i]!, nobodys[i]!];
    const put = (name: string, other: unknown) => {
      if (Array.isArray(mine)) return mine.map((one, at) => (at === i ? other : one));
      return Object.fromEntries(own.map((entry, at) => (at === i ? [name, other] : entry)));
    };
    const renamed = theirKey === nobodysKey ? [] : [[put(theirKey, value), put(nobodysKey, value)] as const];
    const below = references(value, theirValue, nobodysValue);
    return [...renamed, ...below.map(([one, other]) => [put(key, one), put(key, other)] as const)];
  });
};

/** Keys that lists have without naming them in a schema. */
const USUAL =
  `id name marker status project_id tenant_id user_id domain_id network_id device_id security_group_id tags tags-any
   fixed_ips parent_id all_tenants all_projects owner visibility member_status member_of required`.split(/\s+/);

const keysOf = ({ spec, version }: Route): string[] => {
  if (!spec.query) return USUAL;
  const [major = 1, minor = 0] = (version ?? '1.0').split('.').map(Number);
  const table = new VersionTable(
    Array.isArray(spec.query) ? spec.query : [['1.0', spec.query]],
  ) as VersionTable<z.ZodType>;
  const { shape } = (table.at({ major, minor }) ?? {}) as { shape?: object };
  return [...new Set([...Object.keys(shape ?? {}), ...USUAL])];
};

const lists = routes.filter((r) => r.spec.method === 'GET' && namesIn(r).length === 0);
describe.each(named(lists))('%s', (_, route) => {
  it("OSSN-0103 finds another project's things by no filter", async () => {
    for (const key of keysOf(route)) {
      const by = (who: Belongings) => {
        const wanted = /^all_/.test(key) ? 'true' : wantedBy(route, key, who);
        return `${route.path}?${new URLSearchParams({ [key]: key === 'fixed_ips' ? `subnet_id=${who.subnet}` : wanted })}`;
      };
      const found = await ask(route, by(owner));
      expect(found, key).toEqual(await ask(route, by(nobody)));
      for (const id of [owner.server, owner.network, owner.image, owner.keypair]) expect(found.text).not.toContain(id);
    }
  });
});

it('OSSA-2026-001 answers nobody without a token, whoever headers say he is', async () => {
  for (const route of routes.filter((r) => r.spec.policy !== 'open')) {
    const { service, method } = route.spec;
    const path = filled(route, ownNames(route, owner));
    const answer = await api.call(service, method, path, { version: route.version, headers: forgedIdentity(owner) });
    expect([nameOf(route), answer.status]).toEqual([nameOf(route), 401]);
  }
});

it('leaves what it was asked about as it was', async () => {
  const theirs = routes.filter((r) => foreignNames(r).length > 0);
  expect(theirs.length).toBeGreaterThan(100);
  const [head, before] = [await api.cloud.store.head(), await snapshot()];
  for (const route of theirs)
    for (const body of bodiesOf(route.spec, stranger)) await ask(route, filled(route, ownNames(route, owner)), body);
  expect(await snapshot()).toEqual(before);
  const written = (await api.cloud.store.readAll(head, 10_000)).map((e) => e.type);
  expect(written.filter((type) => !/^(?:RequestRefused|RefusalsCounted)$/.test(type))).toEqual([]);
  expect(api.complaints).toEqual([]);
});

it('OSSA-2024-005 answers about what another project had and deleted as about what never was, of the past too', async () => {
  const before = await api.cloud.store.head();
  const deletions = routes.filter((r) => r.spec.method === 'DELETE').reverse();
  for (const route of deletions)
    await api.call(route.spec.service, 'DELETE', filled(route, ownNames(route, owner)), {
      token: owner.token,
      version: route.version,
    });
  for (const [service, path] of [
    ['compute', `/v2.1/servers/${owner.server}`],
    ['network', `/v2.0/ports/${owner.port}`],
    ['image', `/v2/images/${owner.image}`],
  ] as const)
    expect([path, (await api.call(service, 'GET', path, { token: owner.token })).status]).toEqual([path, 404]);
  const at = (path: string) => [path, `${path}?at=${before}`];
  const past = await api.call('compute', 'GET', at(`/v2.1/servers/${owner.server}`)[1]!, { token: owner.token });
  expect(past.status).toBe(200);
  for (const route of routes.filter((r) => foreignNames(r).length > 0))
    for (const names of foreignNames(route)) {
      const [foreign, unknown] = [owner, nobody].map((who) => at(filled(route, names(who)))) as [string[], string[]];
      const bodies = (who: Belongings) => bodiesOf(route.spec, { ...stranger, word: who.word });
      for (const i of route.spec.method === 'GET' ? [0, 1] : [0])
        expect(await ask(route, foreign[i]!, bodies(owner)[0]), foreign[i]).toEqual(
          await ask(route, unknown[i]!, bodies(nobody)[0]),
        );
    }
});
