import { identityValidate } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { Passwords } from './auth/passwords.js';
import { ADMIN_PASSWORD, IdentityCloud } from './testing/identity-cloud.js';

let cloud: IdentityCloud;
let admin: string;
beforeAll(async () => {
  cloud = await IdentityCloud.start();
  admin = await cloud.adminToken();
});
afterAll(() => cloud?.stop());

const call = (method: string, path: string, body?: unknown, token: string | undefined = admin) =>
  cloud.call(method, path, { body, token });
const make = async (kind: string, attributes: object): Promise<{ id: string } & Record<string, unknown>> => {
  const answer = await call('POST', `/v3/${kind}s`, { [kind]: attributes });
  expect(answer.body).toHaveProperty(kind);
  expect(answer.status).toBe(201);
  return answer.body[kind];
};
const roleId = async (name: string): Promise<string> => (await call('GET', `/v3/roles?name=${name}`)).body.roles[0].id;

describe('a token', () => {
  it('says who, where and what', async () => {
    const answer = await cloud.call('GET', '/v3/auth/tokens', { token: admin, headers: { 'x-subject-token': admin } });
    expect(answer.status).toBe(200);
    const { token } = answer.body;
    expect(token).toMatchObject({
      methods: ['password'],
      user: { name: 'admin', domain: { id: 'default', name: 'Default' } },
      project: { name: 'admin' },
      is_domain: false,
    });
    expect(token.roles.map((r: { name: string }) => r.name).sort()).toEqual(['admin', 'manager', 'member', 'reader']);
    expect(token.catalog.find((s: { type: string }) => s.type === 'compute').endpoints[0].url).toBe(
      'http://cloud.example/compute/v2.1',
    );
    expect(token.expires_at).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
    expect(admin.length).toBeLessThan(255);
  });

  it('is told with the catalog of now, or without it', async () => {
    const told = async (query = '') =>
      (await cloud.call('GET', `/v3/auth/tokens${query}`, { token: admin, headers: { 'x-subject-token': admin } })).body
        .token;
    const types = async () => (await told()).catalog.map((s: { type: string }) => s.type);
    expect(await types()).not.toContain('rating');
    expect(await told('?nocatalog')).not.toHaveProperty('catalog');
    const { id } = await make('service', { type: 'rating', name: 'rating' });
    expect(await types()).toContain('rating');
    expect((await call('DELETE', `/v3/services/${id}`)).status).toBe(204);
    expect(await types()).not.toContain('rating');
  });

  it('is refused after its time', async () => {
    const short = await IdentityCloud.start();
    const token = await short.adminToken();
    await short.shared.clock.advance(3_600_000 as never);
    expect((await short.call('GET', '/v3/users', { token })).status).toBe(401);
    await short.stop();
  });

  it('is over at once for every replica when it is revoked', async () => {
    const other = await IdentityCloud.start(cloud.shared, 7);
    const token = await cloud.adminToken();
    const list = () => other.call('GET', '/v3/users', { token });
    expect((await list()).status).toBe(200);
    expect(
      (await cloud.call('DELETE', '/v3/auth/tokens', { token, headers: { 'x-subject-token': token } })).status,
    ).toBe(204);
    expect((await list()).status).toBe(401);
    expect((await cloud.shared.bus.request(identityValidate, { token })).context).toBeNull();
    expect((await cloud.shared.bus.request(identityValidate, { token: admin })).context?.userName).toBe('admin');
    await other.stop();
  });

  it('is not found by whoever asks about it once it is revoked', async () => {
    const body = { user: { name: 'ann', password: 'pw' } };
    expect((await cloud.call('POST', '/v3/users', { token: admin, body })).status).toBe(201);
    const login = async () => (await cloud.login('ann', 'pw')).headers['x-subject-token']!;
    const [mine, gone] = [await login(), await login()];
    const about = (subject: string) =>
      cloud.call('GET', '/v3/auth/tokens', { token: mine, headers: { 'x-subject-token': subject } });
    expect((await about(gone)).status).toBe(200);
    expect((await about(admin)).status).toBe(403);
    await cloud.call('DELETE', '/v3/auth/tokens', { token: mine, headers: { 'x-subject-token': gone } });
    expect(await about(gone)).toMatchObject({ status: 404, body: { error: { code: 404 } } });
    expect((await about('gAAAA')).status).toBe(404);
  });

  it.each(['', 'x', 'gAAAAA', 'a'.repeat(3000), `${'A'.repeat(180)}`])('that is forged is refused', async (token) => {
    expect((await cloud.call('GET', '/v3/users', { token })).status).toBe(401);
  });

  it('from a token lives no longer and has one chain', async () => {
    const identity = { methods: ['token'], token: { id: admin } };
    const answer = await cloud.call('POST', '/v3/auth/tokens', {
      body: { auth: { identity, scope: { system: { all: true } } } },
    });
    expect(answer.status).toBe(201);
    expect(answer.body.token).toMatchObject({ system: { all: true }, methods: ['password', 'token'] });
    const first = (await cloud.call('GET', '/v3/auth/tokens', { token: admin, headers: { 'x-subject-token': admin } }))
      .body.token;
    expect(answer.body.token.audit_ids[1]).toBe(first.audit_ids[0]);
    expect(answer.body.token.expires_at).toBe(first.expires_at);
  });
});

describe('a login', () => {
  it('OSSA-2021-003 answers an unknown or a disabled user as it answers a wrong password', async () => {
    const gone = await cloud.member('gone');
    await call('PATCH', `/v3/users/${gone.userId}`, { user: { enabled: false } });
    const matches = vi.spyOn(Passwords.prototype, 'matches');
    const unknown = await cloud.login('nobody', 'x');
    const wrong = await cloud.login('admin', 'x');
    expect([unknown.status, unknown.body]).toEqual([401, wrong.body]);
    for (const password of ['gone', 'x']) expect((await cloud.login('gone', password)).body).toEqual(wrong.body);
    // Each of them has cost a hash: time tells no more than the answer.
    expect(matches).toHaveBeenCalledTimes(4);
    matches.mockRestore();
    expect(
      (await cloud.login('admin', ADMIN_PASSWORD, { project: { name: 'nowhere', domain: { id: 'default' } } })).body,
    ).toEqual(wrong.body);
  });

  it('OSSA-2021-003 is slowed down for whoever guesses, user or none, and counted once a minute', async () => {
    const other = await IdentityCloud.start();
    const statuses: number[] = [];
    for (let i = 0; i < 12; i++) statuses.push((await other.login('victim', `guess ${i}`)).status);
    expect(statuses.filter((s) => s === 401)).toHaveLength(10);
    const refused = await other.login('victim', 'again');
    expect([refused.status, Number(refused.headers['retry-after']) > 0]).toEqual([429, true]);
    expect((await other.login('admin', ADMIN_PASSWORD)).status).toBe(201);
    const counted = async () =>
      (await other.shared.store.readAll(0, 1000))
        .filter((e) => e.type === 'LoginFailuresCounted')
        .map((e) => (e.data as { count: number }).count);
    await other.identity.desk.guard.flush();
    // The minute is not over yet.
    expect(await counted()).toEqual([]);
    // A store that is away for a while loses no count, and counts nothing twice.
    const { commands } = other.identity.desk.core;
    const execute = commands.execute;
    commands.execute = () => Promise.reject(new Error('away'));
    await expect(other.identity.desk.guard.flush(true)).rejects.toThrow('away');
    commands.execute = execute;
    await other.identity.desk.guard.flush(true);
    expect(await counted()).toEqual([10]);
    await other.stop();
  });

  it('is not refused for what some others at its address have wrong, but once there are too many of them', async () => {
    const other = await IdentityCloud.start();
    const { guard } = other.identity.desk;
    const wrong = (users: number, from = 0) => {
      for (let user = from; user < from + users; user++)
        for (let i = 0; i < 10; i++) guard.failed('127.0.0.1', `user-${user}`, 'password');
    };
    wrong(49);
    expect((await other.login('admin', ADMIN_PASSWORD)).status).toBe(201);
    wrong(1, 49);
    expect((await other.login('admin', ADMIN_PASSWORD)).status).toBe(429);
    await other.stop();
  });

  it.each([
    [{}],
    [{ auth: {} }],
    [{ auth: { identity: { methods: [] } } }],
    [{ auth: { identity: { methods: ['password'], password: { user: { name: 1, password: 'x' } } } } }],
    [{ auth: { identity: { methods: ['password'], password: { user: { name: 'x', password: { $gt: '' } } } } } }],
    ['[]'],
    ['null'],
    ['{"auth":'],
  ])('that is malformed gets 400: %j', async (body) => {
    const answer = await cloud.call('POST', '/v3/auth/tokens', { body });
    expect([answer.status, answer.body.error?.code]).toEqual([400, 400]);
  });

  it('without a known method gets 401', async () => {
    const identity = { methods: ['password', 'totp'] };
    expect((await cloud.call('POST', '/v3/auth/tokens', { body: { auth: { identity } } })).status).toBe(401);
  });
});

describe('projects, users and roles', () => {
  it('keep what they are given', async () => {
    const project = await make('project', { name: 'p1', cost_center: 7, tags: ['a', 'b'] });
    expect(project).toMatchObject({
      name: 'p1',
      cost_center: 7,
      domain_id: 'default',
      parent_id: 'default',
      is_domain: false,
      enabled: true,
    });
    const changed = await call('PATCH', `/v3/projects/${project.id}`, {
      project: { description: 'new', cost_center: 8, more: null },
    });
    expect(changed.body.project).toMatchObject({
      name: 'p1',
      description: 'new',
      cost_center: 8,
      more: null,
      tags: ['a', 'b'],
    });
    expect((await call('GET', '/v3/projects?tags=a,b')).body.projects.map((p: { name: string }) => p.name)).toEqual([
      'p1',
    ]);
    expect((await call('GET', '/v3/projects?name__contains=p1')).body.projects).toHaveLength(1);
    expect((await call('DELETE', `/v3/projects/${project.id}`)).status).toBe(204);
    expect((await call('GET', `/v3/projects/${project.id}`)).body.error).toEqual({
      code: 404,
      message: `Could not find project: ${project.id}.`,
      title: 'Not Found',
    });
    await make('project', { name: 'p1' });
  });

  it('have names of their own', async () => {
    await make('user', { name: 'twin' });
    const again = await call('POST', '/v3/users', { user: { name: 'twin' } });
    expect([again.status, again.body.error.title]).toEqual([409, 'Conflict']);
    const many = await Promise.all(
      Array.from({ length: 10 }, () => call('POST', '/v3/roles', { role: { name: 'race' } })),
    );
    expect(many.filter((a) => a.status === 201)).toHaveLength(1);
    expect(many.filter((a) => a.status === 409)).toHaveLength(9);
  });

  it('work together: a member logs in, and loses everything with its role', async () => {
    const project = await make('project', { name: 'team' });
    const user = await make('user', { name: 'mia', password: 'pw', email: 'mia@example.org' });
    expect(user).toMatchObject({ email: 'mia@example.org', password_expires_at: null });
    expect(user).not.toHaveProperty('password');
    const scope = { project: { id: project.id } };
    expect((await cloud.login('mia', 'pw', scope)).status).toBe(401);
    const grant = `/v3/projects/${project.id}/users/${user.id}/roles/${await roleId('member')}`;
    expect((await call('PUT', grant)).status).toBe(204);
    expect((await call('HEAD', grant)).status).toBe(204);
    const login = await cloud.login('mia', 'pw', scope);
    expect(login.body.token.roles.map((r: { name: string }) => r.name).sort()).toEqual(['member', 'reader']);
    const mia = login.headers['x-subject-token']!;
    expect((await call('GET', '/v3/auth/projects', undefined, mia)).body.projects).toHaveLength(1);
    expect((await call('GET', `/v3/users/${user.id}`, undefined, mia)).status).toBe(200);
    expect((await call('GET', '/v3/users', undefined, mia)).body.error.message).toBe(
      'You are not authorized to perform the requested action: identity:list_users.',
    );
    const names = await call('GET', `/v3/role_assignments?user.id=${user.id}&include_names`);
    expect(names.body.role_assignments[0]).toMatchObject({
      user: { name: 'mia', domain: { name: 'Default' } },
      role: { name: 'member' },
      scope: { project: { name: 'team' } },
    });
    expect((await call('GET', `/v3/role_assignments?user.id=${user.id}&effective`)).body.role_assignments).toHaveLength(
      2,
    );
    await call('DELETE', grant);
    expect((await call('GET', '/v3/auth/projects', undefined, mia)).status).toBe(401);
  });

  it('end their tokens with a new password and when they are disabled', async () => {
    const user = await make('user', { name: 'kim', password: 'one' });
    const one = (await cloud.login('kim', 'one')).headers['x-subject-token']!;
    const change = (original_password: string) =>
      cloud.call('POST', `/v3/users/${user.id}/password`, { body: { user: { original_password, password: 'two' } } });
    expect((await change('wrong')).status).toBe(401);
    await cloud.shared.clock.advance(5 as never);
    expect((await change('one')).status).toBe(204);
    await cloud.shared.clock.advance(5 as never);
    expect((await call('GET', '/v3/auth/projects', undefined, one)).status).toBe(401);
    const two = (await cloud.login('kim', 'two')).headers['x-subject-token']!;
    await call('PATCH', `/v3/users/${user.id}`, { user: { enabled: false } });
    expect((await call('GET', '/v3/auth/projects', undefined, two)).status).toBe(401);
    expect((await cloud.login('kim', 'two')).status).toBe(401);
    await cloud.shared.clock.advance(5 as never);
    await call('PATCH', `/v3/users/${user.id}`, { user: { enabled: true } });
    expect((await call('GET', '/v3/auth/projects', undefined, two)).status).toBe(401);
    expect((await cloud.login('kim', 'two')).status).toBe(201);
  });

  it('are found on all projects of a domain, which is the root of its projects', async () => {
    const domain = await make('domain', { name: 'rooted' });
    const project = await make('project', { name: 'leaf', domain_id: domain.id });
    const user = await make('user', { name: 'mel', domain_id: domain.id });
    const reader = await roleId('reader');
    await call('PUT', `/v3/projects/${project.id}/users/${user.id}/roles/${reader}`);
    const found = await call(
      'GET',
      `/v3/role_assignments?scope.project.id=${domain.id}&include_subtree&user.id=${user.id}`,
    );
    expect(found.body.role_assignments).toMatchObject([{ scope: { project: { id: project.id } } }]);
  });

  it('get roles by groups and by inheritance', async () => {
    const domain = await make('domain', { name: 'org' });
    const project = await make('project', { name: 'below', domain_id: domain.id });
    const user = await make('user', { name: 'lee', domain_id: domain.id, password: 'pw' });
    const group = await make('group', { name: 'ops', domain_id: domain.id });
    const reader = await roleId('reader');
    expect((await call('PUT', `/v3/groups/${group.id}/users/${user.id}`)).status).toBe(204);
    expect(
      (
        await call(
          'PUT',
          `/v3/OS-INHERIT/domains/${domain.id}/groups/${group.id}/roles/${reader}/inherited_to_projects`,
        )
      ).status,
    ).toBe(204);
    const login = await cloud.login(
      'lee',
      'pw',
      { project: { name: 'below', domain: { name: 'org' } } },
      { name: 'org' },
    );
    expect(login.body.token?.roles).toEqual([{ id: reader, name: 'reader' }]);
    expect((await call('DELETE', `/v3/domains/${domain.id}`)).status).toBe(403);
    await call('PATCH', `/v3/domains/${domain.id}`, { domain: { enabled: false } });
    expect((await call('GET', '/v3/auth/projects', undefined, login.headers['x-subject-token'])).status).toBe(401);
    expect((await call('DELETE', `/v3/domains/${domain.id}`)).status).toBe(204);
    expect((await call('GET', `/v3/users/${user.id}`)).status).toBe(404);
    expect((await call('GET', `/v3/projects/${project.id}`)).status).toBe(404);
  });

  it('a stranger cannot tell what is there', async () => {
    const user = await make('user', { name: 'spy', password: 'pw' });
    const spy = (await cloud.login('spy', 'pw')).headers['x-subject-token']!;
    const other = await make('project', { name: 'hidden' });
    for (const [kind, id] of [
      ['projects', other.id],
      ['users', (await make('user', { name: 'secret' })).id],
      ['domains', 'default'],
    ]) {
      const there = await call('GET', `/v3/${kind}/${id}`, undefined, spy);
      const not = await call('GET', `/v3/${kind}/00000000000000000000000000000000`, undefined, spy);
      expect([there.status, there.body]).toEqual([403, not.body]);
    }
    expect((await call('DELETE', `/v3/users/${user.id}`, undefined, spy)).status).toBe(403);
  });
});

describe('an application credential', () => {
  it('OSSA-2020-005 lends some roles, and nothing else', async () => {
    const me = (await cloud.call('GET', '/v3/auth/tokens', { token: admin, headers: { 'x-subject-token': admin } }))
      .body.token.user.id;
    const all = `/v3/users/${me}/application_credentials`;
    const made = await call('POST', all, { application_credential: { name: 'ci', roles: [{ name: 'reader' }] } });
    expect(made.status).toBe(201);
    const { id, secret } = made.body.application_credential;
    const login = (s: string) =>
      cloud.call('POST', '/v3/auth/tokens', {
        body: {
          auth: { identity: { methods: ['application_credential'], application_credential: { id, secret: s } } },
        },
      });
    expect((await login('wrong')).status).toBe(401);
    const answer = await login(secret);
    expect(answer.body.token).toMatchObject({
      roles: [{ name: 'reader' }],
      application_credential: { id, name: 'ci', restricted: true },
      project: { name: 'admin' },
    });
    const lent = answer.headers['x-subject-token']!;
    expect((await call('POST', all, { application_credential: { name: 'more' } }, lent)).status).toBe(403);
    expect((await call('GET', all)).body.application_credentials[0]).not.toHaveProperty('secret');
    const expires_at = '2030-01-31T12:00:00.123456';
    const late = await call('POST', all, { application_credential: { name: 'late', expires_at } });
    expect(late.body.application_credential.expires_at).toBe(expires_at);
    expect((await call('DELETE', `${all}/${id}`)).status).toBe(204);
    expect((await login(secret)).status).toBe(401);
    expect((await call('GET', '/v3/auth/projects', undefined, lent)).status).toBe(401);
  });
});

describe('the catalog', () => {
  it('makes a region of the name that is given, also along with an endpoint', async () => {
    expect((await call('PUT', '/v3/regions/South', { region: {} })).status).toBe(201);
    expect((await call('PUT', '/v3/regions/South', { region: { id: 'West' } })).status).toBe(400);
    expect((await call('PUT', '/v3/regions/South', { region: {} })).status).toBe(409);
    const { id } = await make('service', { type: 'volume' });
    const url = 'http://volume.example';
    const { id: endpoint } = await make('endpoint', { service_id: id, interface: 'public', url, region: 'East' });
    expect((await call('GET', '/v3/regions/East')).status).toBe(200);
    for (const path of [`/v3/endpoints/${endpoint}`, `/v3/services/${id}`, '/v3/regions/East', '/v3/regions/South'])
      expect((await call('DELETE', path)).status).toBe(204);
  });

  it('has regions, services and endpoints of operators', async () => {
    await make('region', { id: 'North', description: 'x' });
    const service = await make('service', { type: 'object-store', name: 'swift' });
    const endpoint = await make('endpoint', {
      service_id: service.id,
      interface: 'public',
      region_id: 'North',
      url: 'http://s/%(project_id)s',
    });
    const catalog = (await call('GET', '/v3/auth/catalog')).body.catalog;
    expect(catalog.find((s: { type: string }) => s.type === 'object-store').endpoints[0]).toMatchObject({
      id: endpoint.id,
      region: 'North',
    });
    expect((await call('DELETE', '/v3/regions/North')).status).toBe(403);
    expect((await call('DELETE', `/v3/services/${service.id}`)).status).toBe(204);
    expect((await call('DELETE', '/v3/regions/North')).status).toBe(204);
    const own = (await call('GET', '/v3/services?type=compute')).body.services[0];
    expect((await call('DELETE', `/v3/services/${own.id}`)).status).toBe(403);
    expect(
      (
        await call('POST', '/v3/endpoints', {
          endpoint: { service_id: own.id, interface: 'public', url: 'javascript:x' },
        })
      ).status,
    ).toBe(400);
  });
});

it('no secret is in the log', async () => {
  const text = JSON.stringify(await cloud.shared.store.readAll(0, 10_000));
  expect(text).not.toContain(ADMIN_PASSWORD);
  expect(text).not.toContain('$argon2');
});

it('starting again changes nothing', async () => {
  const before = await cloud.shared.store.head();
  const again = await IdentityCloud.start(cloud.shared, 5);
  expect(await cloud.shared.store.head()).toBe(before);
  await again.stop();
});

it('nothing went wrong unseen', () => {
  expect(cloud.lines).toEqual([]);
});
