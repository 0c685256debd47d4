import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ApiCloud } from '../simulate/api-cloud.js';
import { everyRoute, filled, nameOf, ownNames, type Route } from './paths.js';
import { type Belongings, forgedIdentity, settle } from './people.js';
import { bodiesOf, contentType } from './samples.js';

let api: ApiCloud;
let owner: Belongings;
const tokens: Record<string, string> = {};

/** A user of the owner's project who has this role there and no other. */
const join = async (role: string): Promise<string> => {
  const { admin: token } = api;
  const found = (await api.does('identity', 'GET', `/v3/roles?name=${role}`, { token })).roles[0];
  const { id } =
    found ?? (await api.does('identity', 'POST', '/v3/roles', { token, body: { role: { name: role } } })).role;
  const body = { user: { name: `${role}-alone`, password: role } };
  const { user } = await api.does('identity', 'POST', '/v3/users', { token, body });
  await api.does('identity', 'PUT', `/v3/projects/${owner.projectId}/users/${user.id}/roles/${id}`, { token });
  return api.login(user.name, role, { project: { id: owner.projectId } });
};

/** What an application credential of the owner with one role opens. */
const lend = async (role: string): Promise<string> => {
  const wish = { application_credential: { name: `lent-${role}`, secret: role, roles: [{ name: role }] } };
  const path = `/v3/users/${owner.userId}/application_credentials`;
  const { application_credential: lent } = await api.does('identity', 'POST', path, { token: owner.token, body: wish });
  const identity = { methods: ['application_credential'], application_credential: { id: lent.id, secret: role } };
  const answer = await api.call('identity', 'POST', '/v3/auth/tokens', { body: { auth: { identity } } });
  return answer.headers['x-subject-token']!;
};

beforeAll(async () => {
  api = await ApiCloud.start();
  owner = await settle(api, 'alpha');
  tokens.bystander = await join('bystander');
  tokens.reader = await join('reader');
  tokens['application credential of a reader'] = await lend('reader');
});
afterAll(() => api?.stop());

/** What everybody with a token may ask, be it that it concerns himself alone. */
const OPEN_TO_ALL = [
  // Who knows a token, or a password, may use it.
  /^identity (?:POST|DELETE) \/v3\/auth\/tokens$/,
  /^identity POST \/v3\/users\/:\w+\/password$/,
];

/** What is the user's and no project's: no role gives it, so none that was not lent takes it away. */
const OF_THE_USER = [/^compute \w+ \/v2\.1\/os-keypairs/, /^identity POST \/v3\/credentials$/];
const OF_THE_USER_STREAMS = /^(?:keypair|credential)-/;

const changes = everyRoute().filter(
  (route) => route.spec.method !== 'GET' && !OPEN_TO_ALL.some((pattern) => pattern.test(nameOf(route))),
);

const ask = async ({ spec, version }: Route, path: string, body: unknown, token: string) => {
  const raw = spec.stream && spec.method !== 'PATCH';
  return api.call(spec.service, spec.method, path, {
    token,
    version,
    ...(body === undefined ? {} : { body: raw ? Buffer.from(String(body)) : body }),
    headers: { 'content-type': contentType(spec), ...forgedIdentity(owner) },
  });
};

describe.each(['bystander', 'reader', 'application credential of a reader'])('%s', (who) => {
  it('OSSA-2020-005 OSSA-2026-001 OSSA-2026-011 changes nothing in a project that it is in', async () => {
    const head = await api.cloud.store.head();
    const accepted: string[] = [];
    for (const route of changes)
      for (const body of bodiesOf(route.spec, owner)) {
        const answer = await ask(route, filled(route, ownNames(route, owner)), body, tokens[who]!);
        const isOwn = OF_THE_USER.some((pattern) => pattern.test(nameOf(route)));
        if (answer.status < 400 && !isOwn) accepted.push(`${nameOf(route)}: ${answer.status} ${JSON.stringify(body)}`);
      }
    expect(accepted).toEqual([]);
    const written = (await api.cloud.store.readAll(head, 10_000)).filter((e) => !OF_THE_USER_STREAMS.test(e.stream));
    expect(written.map((e) => e.type).filter((type) => !/^(?:RequestRefused|RefusalsCounted)$/.test(type))).toEqual([]);
  });
});

it('OSSA-2026-011 a bystander sees nothing of what others of its project have', async () => {
  const shown: string[] = [];
  for (const route of everyRoute().filter((r) => r.spec.method === 'GET')) {
    const answer = await ask(route, filled(route, ownNames(route, owner)), undefined, tokens.bystander!);
    const told = [owner.server, owner.port, owner.group, owner.image, owner.stored, owner.credential, owner.keypair];
    if (answer.status < 400 && told.some((name) => answer.text.includes(name))) shown.push(nameOf(route));
  }
  expect(shown).toEqual([]);
});
