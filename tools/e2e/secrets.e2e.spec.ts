import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { readOpenrc } from '../start/client.mjs';
import { type ApiServer, eventually, RunningCloud } from './running-cloud.js';
import { SecretScan } from './secret-scan.js';

let cloud: RunningCloud;
let image: string;
let flavor: string;
const secrets: Record<string, string> = {};
/** What refusals said. */
const refusals: string[] = [];

beforeAll(async () => {
  cloud = await RunningCloud.start({ fakeHosts: 2 });
  ({ id: image } = await cloud.admin.post('image', '/images', {
    name: 'zero',
    disk_format: 'raw',
    container_format: 'bare',
  }));
  await cloud.admin.put('image', `/images/${image}/file`, Buffer.alloc(64 * 1024), {
    'content-type': 'application/octet-stream',
  });
  const { flavors } = await cloud.admin.get('compute', '/flavors');
  flavor = flavors.find((f: { name: string }) => f.name === 'm1.nano').id;
}, 300_000);
afterAll(() => cloud?.stop(), 60_000);

/** A secret that occurs nowhere by chance. */
const secret = (what: string): string => {
  const value = `${what.replaceAll(' ', '-')}/"${Math.random().toString(36).slice(2)}-hush`;
  secrets[what] = value;
  return value;
};
const base64 = (text: string) => Buffer.from(text).toString('base64');

const send = async (method: string, url: string, body: unknown, token?: string, version = '2.90') => {
  const answer = await fetch(url, {
    method,
    headers: {
      'content-type': 'application/json',
      'openstack-api-version': `compute ${version}`,
      ...(token === undefined ? {} : { 'x-auth-token': token }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  if (!answer.ok) refusals.push(`${answer.status} ${text}`);
  return { status: answer.status, text, token: answer.headers.get('x-subject-token') };
};
const identity = () => cloud.admin.endpoint('identity');
const compute = () => cloud.admin.endpoint('compute');

const login = async (what: string, method: object) => {
  const { token } = await send('POST', `${identity()}/auth/tokens`, { auth: method });
  if (token !== null) secrets[`token of ${what}`] = token;
  return token;
};
const byPassword = (name: string, password: string, scope: object = {}) => ({
  identity: { methods: ['password'], password: { user: { name, domain: { id: 'default' }, password } } },
  ...scope,
});

it('takes in secrets of every kind', async () => {
  const { admin } = cloud;
  secrets['token of the admin'] = admin.token;
  const [first, second] = [secret('first password'), secret('second password')];
  const { user } = await admin.post('identity', '/users', { user: { name: 'keeper', password: first } });
  expect(await login('the keeper', byPassword('keeper', first))).not.toBeNull();
  expect(await login('nobody', byPassword('keeper', secret('wrong password')))).toBeNull();
  await send('POST', `${identity()}/users/${user.id}/password`, {
    user: { original_password: first, password: second },
  });
  const kept = await login('the keeper again', byPassword('keeper', second));
  expect(kept).not.toBeNull();
  await send('PATCH', `${identity()}/users/${user.id}`, { user: { password: secret('third password') } }, admin.token);

  const given = secret('credential secret');
  const { application_credential: lent } = await admin.post(
    'identity',
    `/users/${admin.userId}/application_credentials`,
    { application_credential: { name: 'lent', secret: given } },
  );
  const { application_credential: made } = await admin.post(
    'identity',
    `/users/${admin.userId}/application_credentials`,
    { application_credential: { name: 'made' } },
  );
  secrets['made credential secret'] = made.secret;
  const byCredential = (id: string, value: string) => ({
    identity: { methods: ['application_credential'], application_credential: { id, secret: value } },
  });
  expect(await login('the credential', byCredential(lent.id, given))).not.toBeNull();
  expect(await login('no credential', byCredential(lent.id, secret('wrong credential secret')))).toBeNull();

  const { credential: key } = await admin.post('identity', `/users/${admin.userId}/credentials/OS-EC2`, {
    tenant_id: admin.projectId,
  });
  secrets['EC2 secret'] = key.secret;
  await admin.post('identity', '/credentials', {
    credential: { type: 'totp', blob: secret('TOTP secret'), user_id: admin.userId },
  });

  const { keypair } = await admin
    .post('compute', '/os-keypairs', { keypair: { name: 'k', type: 'x509' } })
    .catch(() => admin.post('compute', '/os-keypairs', { keypair: { name: 'k' } }));
  secrets['private key'] = keypair.private_key.split('\n')[2];
});

it('gives servers theirs, and takes them back', async () => {
  const { admin } = cloud;
  const create = (version: string, more: object) =>
    send(
      'POST',
      `${compute()}/servers`,
      { server: { name: 's', imageRef: image, flavorRef: flavor, networks: 'none', ...more } },
      admin.token,
      version,
    );
  const made = await create('2.90', {
    config_drive: true,
    user_data: base64(secret('user data')),
    adminPass: secret('password of a guest'),
  });
  expect(made.status).toBe(202);
  const brought = await create('2.37', { personality: [{ path: '/x', contents: base64(secret('injected file')) }] });
  expect(brought.status, brought.text).toBe(202);
  secrets['made password of a guest'] = JSON.parse(brought.text).server.adminPass;
  const id = JSON.parse(made.text).server.id;
  await eventually(
    'the server runs',
    async () => (await admin.get('compute', `/servers/${id}`)).server as ApiServer,
    (server) => server.status === 'ACTIVE',
  );
  const { remote_console: opened } = await admin.post('compute', `/servers/${id}/remote-consoles`, {
    remote_console: { protocol: 'serial', type: 'serial' },
  });
  secrets['console token'] = new URL(opened.url).searchParams.get('token')!;
  await fetch(opened.url.replace(/^ws/, 'http')).catch(() => undefined);
  const { remote_console: shown } = await admin.post('compute', `/servers/${id}/remote-consoles`, {
    remote_console: { protocol: 'vnc', type: 'novnc' },
  });
  const socket = new URL(new URL(shown.url).searchParams.get('path')!, shown.url);
  secrets["token of a console's page"] = socket.searchParams.get('token')!;
  expect((await fetch(shown.url)).status).toBe(200);
  for (const [protocol, type] of [
    ['rdp', 'rdp-html5'],
    ['mks', 'webmks'],
  ]) {
    const { remote_console: by } = await admin.post('compute', `/servers/${id}/remote-consoles`, {
      remote_console: { protocol, type },
    });
    secrets[`token of a console by ${protocol}`] = new URL(by.url).searchParams.get('token')!;
    // A fake host has no WebMKS that could be dialled.
    expect((await fetch(by.url.replace(/^ws/, 'http'))).status).toBe(protocol === 'rdp' ? 200 : 404);
  }
  const changed = await send(
    'POST',
    `${compute()}/servers/${id}/action`,
    { changePassword: { adminPass: secret('changed password of a guest') } },
    admin.token,
  );
  // The image has no agent.
  expect(changed.status, changed.text).toBe(409);
  await admin.delete('compute', `/servers/${id}`);
});

it('refuses wrong requests without repeating what is secret in them', async () => {
  const { token } = cloud.admin;
  const before = refusals.length;
  const wrong: (readonly [string, string, unknown])[] = [
    ['POST', `${identity()}/users`, { user: { name: 7, password: secret('password of a wrong user') } }],
    ['POST', `${identity()}/users`, { user: { password: [secret('password in a list')] } }],
    ['POST', `${identity()}/auth/tokens`, { auth: { identity: { password: { user: { password: secret('lost') } } } } }],
    [
      'POST',
      `${identity()}/auth/tokens`,
      { auth: { identity: { methods: ['token'], token: { id: 'x', y: secret('z') } } } },
    ],
    ['POST', `${compute()}/servers`, { server: { name: 's', adminPass: secret('misplaced password') } }],
    ['POST', `${compute()}/servers`, { server: { name: 's', user_data: secret('user data in clear') } }],
    ['POST', `${compute()}/servers/x/action`, { changePassword: { adminPass: secret('password for nobody') } }],
  ];
  for (const [method, url, body] of wrong) await send(method, url, body, token);
  await send('GET', `${compute()}/servers`, undefined, secret('forged token'));
  expect(refusals.length - before).toBe(wrong.length + 1);
});

it('OSSA-2020-001 has written none of them down where others could read it', async () => {
  await cloud.omnivisor('audit', 'list');
  const { OS_PASSWORD: password = '' } = readOpenrc(join(cloud.home, 'openrc'));
  const folder = join(cloud.home, 'data', 'secrets');
  for (const name of readdirSync(folder)) {
    const text = readFileSync(join(folder, name), 'utf8').trim();
    // A file of credentials says in a long line of its own what nobody else may know.
    if (name !== 'cloud-id') secrets[name] = text.split('\n').find((line) => /^S[A-Z2-7]{57}$/.test(line)) ?? text;
  }
  const scan = new SecretScan({ ...secrets, 'password of the admin': password });
  scan.files('logs', join(cloud.home, 'log'));
  scan.files('the relay', join(cloud.home, 'data', 'nats'));
  scan.files('what npm run status knows', join(cloud.home, 'run'));
  await scan.database(cloud.home);
  for (const text of refusals) scan.text('refusals', text);
  expect(Object.keys(secrets).length).toBeGreaterThan(30);
  for (const place of ['logs', 'the relay', 'refusals', 'log.event', 'gateway.servers_v6', 'gateway.vault'])
    expect(scan.seen, place).toHaveProperty([place]);
  expect(scan.found).toEqual([]);
});

it('wants nothing of the bus that its permissions do not give', () => {
  const folder = join(cloud.home, 'log');
  const logs = readdirSync(folder).map((name) => readFileSync(join(folder, name), 'utf8'));
  expect(logs.join('\n').match(/^.*permissions? violation.*$/gim)).toBeNull();
});
