import { type Feature, seconds } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ComputeApp, computeApp } from '../compute-app.fixtures.js';

const ID = '6f1c33f5-71cb-4d4c-9a0b-9a7a0a6f2f10';
const ticket = { kind: 'rdp', host: 'hv1.example', port: 2179, accessPath: ID, thumbprint: null };

let app: ComputeApp;
let id: string;
beforeAll(async () => {
  app = await computeApp();
  id = await app.create();
  await app.activate(id);
});
afterAll(() => app?.close());

type As = 'admin' | 'member' | 'other' | 'reader';
const ask = (protocol: string, type: string, version = '2.8', as: As = 'member', of = id) =>
  app.call('POST', `/v2.1/servers/${of}/remote-consoles`, {
    ...{ as, version, body: { remote_console: { protocol, type } } },
  });
const act = (action: string, type: string, version = '2.1', of = id) =>
  app.call('POST', `/v2.1/servers/${of}/action`, { version, body: { [action]: { type } } });
const urlOf = ({ body }: { body: unknown }): URL => {
  const told = body as Record<'remote_console' | 'console', { url: string } | undefined>;
  return new URL((told.remote_console ?? told.console)!.url);
};
/** Without any token of identity. */
const download = (url: URL) => app.app.fastify.inject({ method: 'GET', url: url.pathname + url.search });
const tells = (body: unknown) => {
  app.hostAnswers = ({ kind }) => (kind === 'consoleTicket' ? { body: JSON.stringify(body) } : undefined);
};

describe('a console by Remote Desktop', () => {
  it.each(['2.6', '2.104'])('at %s is a file that its clients open, at an address with a token', async (version) => {
    tells(ticket);
    const asked = await ask('rdp', 'rdp-html5', version);
    expect(asked.status, asked.text).toBe(200);
    expect(asked.body).toEqual({ remote_console: { protocol: 'rdp', type: 'rdp-html5', url: expect.any(String) } });
    const url = urlOf(asked);
    expect(url.href).toMatch(
      /^http:\/\/cloud\.example\/compute\/v2\.1\/os-omnivisor-console\.rdp\?token=[0-9a-f-]{36}$/,
    );
    const file = await download(url);
    expect(file.statusCode, file.body).toBe(200);
    expect(file.headers).toMatchObject({
      'content-type': 'application/x-rdp',
      'content-disposition': `attachment; filename="${id}.rdp"`,
      'cache-control': 'no-store',
    });
    expect(file.body.split('\r\n')).toEqual([
      'full address:s:hv1.example:2179',
      `pcb:s:${ID}`,
      'server port:i:2179',
      'negotiate security layer:i:0',
      '',
    ]);
  });

  it('has an address of IPv6 in brackets', async () => {
    tells({ ...ticket, host: '2001:db8::5' });
    expect((await download(urlOf(await ask('rdp', 'rdp-html5')))).body).toContain('full address:s:[2001:db8::5]:2179');
  });

  it('until 2.5 is asked for by an action', async () => {
    const asked = await act('os-getRDPConsole', 'rdp-html5');
    expect(asked.status, asked.text).toBe(200);
    expect(asked.body).toEqual({ console: { type: 'rdp-html5', url: urlOf(asked).href } });
    expect((await act('os-getRDPConsole', 'novnc')).status).toBe(400);
    expect((await act('os-getRDPConsole', 'rdp-html5', '2.6')).status).toBe(400);
    // Nova never had one for WebMKS.
    expect((await act('os-getMKSConsole', 'webmks')).status).toBe(400);
  });

  it('tells administrators where it is, before 2.31 as the only one', async () => {
    tells(ticket);
    const rdp = urlOf(await ask('rdp', 'rdp-html5')).searchParams.get('token')!;
    const mks = urlOf(await ask('mks', 'webmks')).searchParams.get('token')!;
    const show = (token: string, version: string, as: As = 'admin') =>
      app.call('GET', `/v2.1/os-console-auth-tokens/${token}`, { as, version });
    const found = { instance_uuid: id, host: 'hv1.example', port: 2179, internal_access_path: ID };
    expect((await show(rdp, '2.1')).body).toEqual({ console: found });
    expect((await show(rdp, '2.99')).body).toEqual({ console: { ...found, tls_port: null } });
    expect((await show(mks, '2.30')).status).toBe(401);
    expect((await show(mks, '2.31')).body).toMatchObject({ console: { port: null, internal_access_path: null } });
    expect((await show(rdp, '2.31', 'member')).status).toBe(403);
  });

  it.each([
    ['lines of its own', { ...ticket, host: 'hv1\r\nalternate shell:s:calc' }],
    ['another id', { ...ticket, accessPath: 'x\ny' }],
    ['no port', { ...ticket, port: 0 }],
    ['nothing', null],
  ])('is no file when its host tells %s', async (_, told) => {
    tells(told);
    expect((await download(urlOf(await ask('rdp', 'rdp-html5')))).statusCode).toBe(503);
  });

  it('gives its file to nobody without the token, and with that of no other kind of console', async () => {
    tells(ticket);
    const vnc = urlOf(await ask('serial', 'serial')).searchParams.get('token')!;
    const at = (query: string) =>
      app.app.fastify.inject({ method: 'GET', url: `/compute/v2.1/os-omnivisor-console.rdp${query}` });
    expect((await at('')).statusCode).toBe(400);
    expect((await at('?token=a&token=b')).statusCode).toBe(400);
    for (const token of ['x', id, vnc]) expect((await at(`?token=${token}`)).statusCode).toBe(404);
  });

  it('is void when its server stops, and after ten minutes', async () => {
    tells(ticket);
    const stops = await app.create();
    await app.activate(stops);
    const [ends, voids] = [
      urlOf(await ask('rdp', 'rdp-html5')),
      urlOf(await ask('rdp', 'rdp-html5', '2.8', 'member', stops)),
    ];
    expect((await download(voids)).statusCode).toBe(200);
    await app.call('POST', `/v2.1/servers/${stops}/action`, { body: { 'os-stop': null } });
    expect((await download(voids)).statusCode).toBe(404);
    await app.clock.advance(seconds(600));
    expect((await download(ends)).statusCode).toBe(404);
  });
});

describe('a console by WebMKS', () => {
  it.each(['2.8', '2.104'])('at %s is a WebSocket of ours', async (version) => {
    const asked = await ask('mks', 'webmks', version);
    expect(asked.status, asked.text).toBe(200);
    expect(asked.body).toMatchObject({ remote_console: { protocol: 'mks', type: 'webmks' } });
    expect(urlOf(asked).href).toMatch(/^ws:\/\/cloud\.example\/console\/\?token=[0-9a-f-]{36}$/);
  });

  it.each([
    ['2.5', 404],
    ['2.6', 400],
    ['2.7', 400],
  ])('is not there at %s', async (version, status) =>
    expect((await ask('mks', 'webmks', version)).status).toBe(status),
  );
});

const all = [
  ['vnc', 'novnc', 'consoles.vnc'],
  ['serial', 'serial', 'consoles.serial'],
  ['rdp', 'rdp-html5', 'consoleTickets.rdp'],
  ['mks', 'webmks', 'consoleTickets.mks'],
] as const satisfies readonly (readonly [string, string, Feature])[];

describe.each(all)('a console by %s', (protocol, type, feature) => {
  it('is for the project of its server', async () => {
    expect((await ask(protocol, type, '2.8', 'other')).status).toBe(404);
    expect((await ask(protocol, type, '2.8', 'reader')).status).toBe(403);
    expect((await ask(protocol, type, '2.8', 'admin')).status).toBe(200);
  });

  it('is not built where its hypervisor has none', async () => {
    await app.hostLacks(feature);
    expect((await ask(protocol, type)).status).toBe(501);
    await app.hostLacks();
    expect((await ask(protocol, type)).status).toBe(200);
  });

  it('is one of a guest that runs, and by its own type', async () => {
    const waits = await app.create();
    const message = `Instance ${waits} is not ready`;
    expect(await ask(protocol, type, '2.8', 'member', waits)).toMatchObject({
      ...{ status: 409, body: { conflictingRequest: { message } } },
    });
    await app.activate(waits);
    await app.report(waits, { kind: 'powerChanged', power: 'shutdown', bootId: 'b' });
    expect((await ask(protocol, type, '2.8', 'member', waits)).status).toBe(409);
    expect((await ask(protocol, 'spice-html5')).status).toBe(400);
  });
});

it('leaves no token in the log', async () => {
  const token = urlOf(await ask('rdp', 'rdp-html5')).searchParams.get('token')!;
  const events = await app.events();
  expect(events.some(({ type }) => type === 'ConsoleAuthorized')).toBe(true);
  expect(JSON.stringify(events)).not.toContain(token);
});
