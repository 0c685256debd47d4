import type { RowReader } from '@omnivisor/eventsourcing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CredentialRow } from '../record/tables.js';
import { IdentityCloud } from '../testing/identity-cloud.js';
import { rulesOf as boundsOf } from '../token/directory.js';

type Member = Awaited<ReturnType<IdentityCloud['member']>>;
let cloud: IdentityCloud;
let [ann, bob]: [Member, Member] = [] as never;
beforeAll(async () => {
  cloud = await IdentityCloud.start();
  [ann, bob] = [await cloud.member('ann'), await cloud.member('bob')];
});
afterAll(() => cloud?.stop());

const call = (token: string, method: string, path: string, body?: unknown) => cloud.call(method, path, { token, body });
const lend = (who: Member, access_rules: object[]) =>
  call(who.token, 'POST', `/v3/users/${who.userId}/application_credentials`, {
    application_credential: { name: cloud.core.ids.hex(), secret: 'lent', access_rules },
  });
const login = async (id: string) => {
  const auth = { identity: { methods: ['application_credential'], application_credential: { id, secret: 'lent' } } };
  const { headers, body } = await cloud.call('POST', '/v3/auth/tokens', { body: { auth } });
  return { token: headers['x-subject-token']!, body };
};
const rulesOf = (who: Member) => `/v3/users/${who.userId}/access_rules`;

describe('an application credential with access rules', () => {
  it('is worth nothing for any other request', async () => {
    const path = `/v3/users/${ann.userId}/**`;
    const { body } = await lend(ann, [{ service: 'identity', method: 'GET', path }]);
    const { application_credential: credential } = body;
    expect(credential.access_rules).toEqual([{ id: expect.any(String), service: 'identity', method: 'GET', path }]);
    const { token, body: answer } = await login(credential.id);
    expect(answer.token.application_credential.access_rules).toEqual(credential.access_rules);
    expect((await call(token, 'GET', `/v3/users/${ann.userId}/application_credentials`)).status).toBe(200);
    expect((await call(token, 'GET', '/v3/auth/projects')).status).toBe(401);
    const one = `/v3/users/${ann.userId}/application_credentials/${credential.id}`;
    expect((await call(token, 'DELETE', one)).status).toBe(401);
    const own = await cloud.call('GET', '/v3/auth/tokens', { token, headers: { 'x-subject-token': token } });
    expect(own.status).toBe(200);
  });
  it('may ask everything where it has no rules', async () => {
    const { token } = await login((await lend(ann, [])).body.application_credential.id);
    expect((await call(token, 'GET', '/v3/auth/projects')).status).toBe(200);
  });
});

describe('an access rule', () => {
  const rule = { service: 'compute', method: 'GET', path: '/v2.1/servers' };
  it('is made once for equal wishes, and named by its id', async () => {
    const first = (await lend(bob, [rule, rule])).body.application_credential;
    expect(first.access_rules).toHaveLength(1);
    const [{ id }] = first.access_rules;
    for (const wish of [rule, { id }])
      expect((await lend(bob, [wish])).body.application_credential.access_rules[0].id).toBe(id);
    expect((await call(bob.token, 'GET', rulesOf(bob))).body.access_rules).toMatchObject([{ id, ...rule }]);
    expect((await call(bob.token, 'GET', `${rulesOf(bob)}/${id}`)).body.access_rule).toMatchObject(rule);
  });
  it('stands where it was asked for', async () => {
    const wishes = ['PUT', 'GET', 'POST'].map((method) => ({ ...rule, method, path: '/in-order' }));
    await lend(ann, wishes.slice(1, 2));
    const { access_rules } = (await lend(ann, wishes)).body.application_credential;
    expect(access_rules).toMatchObject(wishes);
    // Whatever order a store finds them in.
    const found = new Map(access_rules.map((r: { id: string }) => [r.id, r]).reverse());
    const rows = { getMany: async () => found } as unknown as RowReader;
    const accessRuleIds = access_rules.map((r: { id: string }) => r.id);
    expect(await boundsOf(rows, { accessRuleIds } as CredentialRow)).toMatchObject(wishes);
  });
  it('is nobody else’s', async () => {
    const { access_rules } = (await lend(ann, [{ ...rule, path: '/ann' }])).body.application_credential;
    const [{ id }] = access_rules;
    expect((await call(bob.token, 'GET', rulesOf(ann))).status).toBe(403);
    expect((await call(bob.token, 'GET', `${rulesOf(bob)}/${id}`)).status).toBe(404);
    expect((await lend(bob, [{ id }])).status).toBe(404);
  });
  it('stays while a credential is bounded by it', async () => {
    const { id, access_rules } = (await lend(ann, [{ ...rule, path: '/stays' }])).body.application_credential;
    const path = `${rulesOf(ann)}/${access_rules[0].id}`;
    expect((await call(ann.token, 'DELETE', path)).status).toBe(403);
    await call(ann.token, 'DELETE', `/v3/users/${ann.userId}/application_credentials/${id}`);
    expect((await call(ann.token, 'DELETE', path)).status).toBe(204);
    expect((await call(ann.token, 'GET', path)).status).toBe(404);
  });
  it.each([{ ...rule, method: 'BREW' }, { ...rule, path: 'x' }, { service: 'compute' }])('is not %j', async (wish) => {
    expect((await lend(ann, [wish])).status).toBe(400);
  });
});
