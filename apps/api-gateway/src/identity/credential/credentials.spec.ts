import { createHmac } from 'node:crypto';
import { after, seconds } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { IdentityCloud } from '../testing/identity-cloud.js';

type Member = Awaited<ReturnType<IdentityCloud['member']>>;
let cloud: IdentityCloud;
let [admin, ann, bob]: [string, Member, Member] = [] as never;
beforeAll(async () => {
  cloud = await IdentityCloud.start();
  admin = await cloud.adminToken();
  [ann, bob] = [await cloud.member('ann'), await cloud.member('bob')];
});
afterAll(() => cloud?.stop());

const call = (token: string, method: string, path: string, body?: unknown) => cloud.call(method, path, { token, body });
const keep = (who: Member, more: object = {}, token = who.token) =>
  call(token, 'POST', '/v3/credentials', {
    credential: { type: 'totp', blob: 'JBSWY3DPEHPK3PXP', user_id: who.userId, colour: 'red', ...more },
  });
const lent = async (who: Member, attributes: object = {}) => {
  const name = cloud.core.ids.hex();
  const wish = { application_credential: { name, secret: 'lent', ...attributes } };
  const { body } = await call(who.token, 'POST', `/v3/users/${who.userId}/application_credentials`, wish);
  const { id } = body.application_credential;
  const auth = { identity: { methods: ['application_credential'], application_credential: { id, secret: 'lent' } } };
  const answer = await cloud.call('POST', '/v3/auth/tokens', { body: { auth } });
  return { id, token: answer.headers['x-subject-token']! };
};

describe('a credential', () => {
  it('keeps its secret for its user and admins, and for nobody else', async () => {
    const { status, body } = await keep(ann);
    expect(status).toBe(201);
    const { credential } = body;
    expect(credential).toMatchObject({ type: 'totp', blob: 'JBSWY3DPEHPK3PXP', project_id: null, colour: 'red' });
    const path = `/v3/credentials/${credential.id}`;
    expect((await call(ann.token, 'GET', path)).body).toEqual(body);
    expect((await call(admin, 'GET', path)).status).toBe(200);
    expect((await call(bob.token, 'GET', path)).status).toBe(403);
    expect((await call(bob.token, 'GET', `${path}0`)).status).toBe(403);
    expect((await call(bob.token, 'GET', '/v3/credentials')).body.credentials).toEqual([]);
    expect((await call(ann.token, 'GET', '/v3/credentials?type=totp')).body.credentials).toHaveLength(1);
    expect((await call(ann.token, 'GET', '/v3/credentials?type=cert')).body.credentials).toEqual([]);
    expect((await keep(ann, {}, bob.token)).status).toBe(403);
    const events = await cloud.shared.store.readStream(`credential-${credential.id}`);
    expect(JSON.stringify(events)).not.toContain('JBSWY3DPEHPK3PXP');
  });
  it('OSSA-2020-004 changes, but not into somebody else’s', async () => {
    const path = `/v3/credentials/${(await keep(ann)).body.credential.id}`;
    const change = (credential: object) => call(ann.token, 'PATCH', path, { credential });
    expect((await change({ blob: 'new', project_id: ann.projectId })).body.credential).toMatchObject({ blob: 'new' });
    expect((await change({ user_id: bob.userId })).status).toBe(403);
    expect((await change({ type: 'ec2' })).status).toBe(400);
    expect((await call(ann.token, 'DELETE', path)).status).toBe(204);
    expect((await call(admin, 'GET', path)).status).toBe(404);
  });
  it('OSSA-2020-004 of what was lent stays in its project', async () => {
    const program = await lent(ann);
    expect((await keep(ann, {}, program.token)).status).toBe(403);
    expect((await keep(ann, { project_id: ann.projectId }, program.token)).status).toBe(201);
    const { credentials } = (await call(program.token, 'GET', '/v3/credentials')).body;
    expect(credentials.map((c: { project_id: string }) => c.project_id)).toEqual([ann.projectId]);
    const key = { type: 'ec2', project_id: ann.projectId, blob: '{"access":"a","secret":"s"}' };
    expect((await keep(ann, key, program.token)).status).toBe(403);
  });
  it('OSSA-2026-005 is made with nothing that was lent and may not be lent on', async () => {
    const program = await lent(ann);
    const ec2 = { type: 'ec2', project_id: ann.projectId, blob: '{"access":"a","secret":"s"}' };
    const own = `/v3/users/${ann.userId}`;
    expect((await keep(ann, ec2, program.token)).status).toBe(403);
    for (const [path, body] of [
      [`${own}/credentials/OS-EC2`, { tenant_id: ann.projectId }],
      [`${own}/application_credentials`, { application_credential: { name: 'more', unrestricted: true } }],
    ] as const)
      expect([path, (await call(program.token, 'POST', path, body)).status]).toEqual([path, 403]);
    const listed = await call(ann.token, 'GET', `${own}/application_credentials`);
    expect(listed.body.application_credentials.map((c: { name: string }) => c.name)).not.toContain('more');
  });
  it('goes with its user', async () => {
    const zoe = await cloud.member('zoe');
    await keep(zoe);
    await call(admin, 'DELETE', `/v3/users/${zoe.userId}`);
    expect((await call(admin, 'GET', `/v3/credentials?user_id=${zoe.userId}`)).body.credentials).toEqual([]);
  });
});

describe('an EC2 key', () => {
  const keys = (who: Member) => `/v3/users/${who.userId}/credentials/OS-EC2`;
  const make = async (who: Member, token = who.token) =>
    (await call(token, 'POST', keys(who), { tenant_id: who.projectId })).body.credential;
  const ask = (access: string, secret: string, token: string | null = admin, signedAt = cloud.core.clock.now()) => {
    const params = { SignatureVersion: '2', Action: 'A', Timestamp: signedAt };
    const time = encodeURIComponent(signedAt);
    const text = `GET\ncloud.example\n/\nAction=A&SignatureMethod=HmacSHA256&SignatureVersion=2&Timestamp=${time}`;
    const signature = createHmac('sha256', secret).update(text).digest('base64');
    const credentials = { access, signature, params, host: 'cloud.example:80', verb: 'GET', path: '/' };
    return cloud.call('POST', '/v3/ec2tokens', { token: token ?? undefined, body: { credentials } });
  };
  it('is its user’s', async () => {
    const key = await make(ann);
    expect(key).toMatchObject({ user_id: ann.userId, tenant_id: ann.projectId, trust_id: null });
    const path = `${keys(ann)}/${key.access}`;
    expect((await call(ann.token, 'GET', path)).body.credential).toEqual(key);
    expect((await call(ann.token, 'GET', keys(ann))).body.credentials).toEqual([key]);
    expect((await call(bob.token, 'GET', path)).status).toBe(404);
    expect((await call(bob.token, 'GET', keys(ann))).status).toBe(403);
    expect((await call(bob.token, 'GET', `${keys(bob)}/${key.access}`)).status).toBe(404);
    const { credentials } = (await call(ann.token, 'GET', '/v3/credentials?type=ec2')).body;
    expect(JSON.parse(credentials[0].blob)).toMatchObject({ access: key.access, secret: key.secret });
    expect((await call(ann.token, 'DELETE', path)).status).toBe(204);
    expect((await call(ann.token, 'GET', path)).status).toBe(404);
    expect((await call(admin, 'GET', path)).status).toBe(404);
  });
  it('opens its project for requests that it signed, when a service asks', async () => {
    const { access, secret } = await make(ann);
    const { status, headers, body } = await ask(access, secret);
    expect(status).toBe(200);
    expect(body.token).toMatchObject({ user: { id: ann.userId }, project: { id: ann.projectId } });
    expect((await call(headers['x-subject-token']!, 'GET', keys(ann))).status).toBe(200);
    expect((await ask(access, 'guess')).status).toBe(401);
    expect((await ask('nobody', secret)).status).toBe(404);
    expect((await ask(access, secret, ann.token)).status).toBe(403);
    const late = after(cloud.core.clock.now(), seconds(-16 * 60));
    expect((await ask(access, secret, admin, late)).status).toBe(401);
    const token = Buffer.from('GET\n\n\n\n/bucket').toString('base64url');
    const signature = createHmac('sha1', secret).update('GET\n\n\n\n/bucket').digest('base64');
    const s3 = await call(admin, 'POST', '/v3/s3tokens', { credentials: { access, token, signature } });
    expect([s3.status, s3.headers['x-subject-token']]).toEqual([200, undefined]);
  });
  it('OSSA-2025-002 says nobody’s name to who is no service', async () => {
    const { access, secret } = await make(ann);
    const s3 = (token: string | null) => {
      const credentials = { access, token: '', signature: createHmac('sha1', secret).update('').digest('base64') };
      return cloud.call('POST', '/v3/s3tokens', { token: token ?? undefined, body: { credentials } });
    };
    for (const asks of [s3, (token: string | null) => ask(access, secret, token)])
      for (const [token, status] of [
        [null, 401],
        ['no-token', 401],
        [ann.token, 403],
        [admin, 200],
      ] as const)
        expect((await asks(token)).status).toBe(status);
  });
  it('OSSA-2020-005 that was lent opens no more than what lent it, and ends with it', async () => {
    const program = await lent(ann, { unrestricted: true });
    const { access, secret } = await make(ann, program.token);
    expect((await ask(access, secret)).body.token.application_credential).toMatchObject({ id: program.id });
    const { id } = (await call(ann.token, 'GET', '/v3/credentials')).body.credentials.find((c: { blob: string }) =>
      c.blob.includes(access),
    );
    const elsewhere = { credential: { project_id: bob.projectId } };
    expect((await call(admin, 'PATCH', `/v3/credentials/${id}`, elsewhere)).status).toBe(200);
    expect((await ask(access, secret)).status).toBe(401);
    await call(admin, 'PATCH', `/v3/credentials/${id}`, { credential: { project_id: ann.projectId } });
    const freed = { credential: { blob: JSON.stringify({ access, secret }) } };
    expect((await call(ann.token, 'PATCH', `/v3/credentials/${id}`, freed)).status).toBe(400);
    await call(ann.token, 'DELETE', `/v3/users/${ann.userId}/application_credentials/${program.id}`);
    expect((await ask(access, secret)).status).toBe(401);
  });
  it('cannot take the name of another', async () => {
    const { access } = await make(ann);
    const theft = { type: 'ec2', project_id: bob.projectId, blob: JSON.stringify({ access, secret: 's' }) };
    expect((await keep(bob, theft)).status).toBe(409);
    await call(ann.token, 'DELETE', `${keys(ann)}/${access}`);
    expect((await keep(bob, theft)).status).toBe(201);
    expect((await keep(bob, { type: 'ec2', blob: '{"access":"b"}' })).status).toBe(400);
    expect((await keep(bob, { type: 'ec2', project_id: bob.projectId, blob: 'x' })).status).toBe(400);
  });
});
