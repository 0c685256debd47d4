import { once } from 'node:events';
import { createServer, request, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { seconds } from '@omnivisor/contracts';
import { VirtualClock } from '@omnivisor/platform/testing';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import type { LiveAnswers } from '../compute/host/live-answers.js';
import type { GatewayCore } from '../core/gateway-core.js';
import { ConsoleProxy, type ConsoleTokens } from './console-proxy.js';

const ORIGIN = 'https://cloud.example';
const clock = new VirtualClock();
let server: Server;
let port: number;
let errors: unknown[];
let row: object | undefined;
let find: ConsoleTokens['find'];
/** What the host does when it is asked to open a console. */
let dial: (url: string, protocol: string) => void;

beforeEach(async () => {
  errors = [];
  row = { id: 'server', onHost: 'host', deleteRequested: false, power: 'running' };
  find = async () => ({ serverId: 'server', protocol: 'serial', expiresAt: '2999-01-01T00:00:00.000Z' });
  dial = (url) => void new WebSocket(url).on('error', () => {});
  const core = {
    clock,
    ids: { hex: () => 'ab'.repeat(16) },
    fresh: async () => ({ get: async () => row }),
  } as unknown as GatewayCore;
  const live = {
    ask: async (_host: string, { url, protocol }: { url: string; protocol: string }) => {
      dial(url, protocol);
      return { ok: true };
    },
  } as unknown as LiveAnswers;
  server = createServer((_, response) => response.writeHead(404).end()).listen(0, '127.0.0.1');
  await once(server, 'listening');
  port = (server.address() as AddressInfo).port;
  new ConsoleProxy(core, { find: (f) => find(f) }, live, {
    agentUrl: `ws://127.0.0.1:${port}`,
    origins: [ORIGIN],
    onError: (_, error) => errors.push(error),
  }).attach(server);
});
afterEach(() => {
  server.closeAllConnections();
  server.close();
});

/** True once nothing more goes out between two looks. */
const standing = (gone: { readonly sent: number }) => {
  let before = -1;
  return () => {
    const same = gone.sent === before;
    before = gone.sent;
    return same;
  };
};

const HANDSHAKE = {
  connection: 'Upgrade',
  upgrade: 'websocket',
  'sec-websocket-version': '13',
  'sec-websocket-key': Buffer.alloc(16).toString('base64'),
};
/** Status and headers of what an upgrade is answered. */
const knock = (path: string, headers: object = {}): Promise<{ status: number; location: string | undefined }> =>
  new Promise((resolve, reject) => {
    const asked = request({ port, host: '127.0.0.1', path, headers: { ...HANDSHAKE, ...headers } });
    asked.once('upgrade', (response, socket) => {
      socket.destroy();
      resolve({ status: response.statusCode!, location: response.headers.location });
    });
    asked.once('response', (response) => {
      response.resume();
      resolve({ status: response.statusCode!, location: response.headers.location });
    });
    asked.once('error', reject);
    asked.end();
  });

describe('a console', () => {
  it('OSSN-0101 judges the origin of each request by the settings alone, whatever hosts others claimed', async () => {
    for (let n = 0; n < 200; n++) await knock('/console/?token=t', { host: `evil-${n}.example` });
    const evil = { origin: 'https://evil-7.example', host: 'evil-7.example' };
    expect((await knock('/console/?token=t', evil)).status).toBe(403);
    expect((await knock('/console/?token=t', { origin: 'null' })).status).toBe(403);
    expect((await knock('/console/?token=t', { origin: `${ORIGIN}.evil.example` })).status).toBe(403);
    expect((await knock('/console/?token=t', { origin: ORIGIN })).status).toBe(101);
  });

  it.each(['//evil.example/%2e%2e', '//evil.example/..', '/console/../..//evil.example', '/\\evil.example', '//['])(
    'OSSA-2021-002 sends nobody elsewhere: %s',
    async (path) => {
      const { status, location } = await knock(path);
      expect([status >= 400, location]).toEqual([true, undefined]);
      expect(errors).toEqual([]);
    },
  );

  it('OSSA-2020-001 is looked up by a digest of its token, and opens no more once it is over', async () => {
    const looked: string[] = [];
    find = async (fingerprint) => {
      looked.push(fingerprint);
      return { serverId: 'server', protocol: 'serial', expiresAt: clock.now() };
    };
    expect((await knock('/console/?token=a-secret')).status).toBe(401);
    expect((await knock('/console/')).status).toBe(401);
    expect(looked).toHaveLength(1);
    expect(looked[0]).toMatch(/^[0-9a-f]{64}$/);
    find = async () => null;
    expect((await knock('/console/?token=a-secret')).status).toBe(401);
  });

  it.each([undefined, { onHost: null }, { deleteRequested: true }, { power: 'shutdown' }])(
    'of a server that does not run opens nothing: %j',
    async (change) => {
      row = change && { ...row, ...change };
      expect((await knock('/console/?token=t')).status).toBe(401);
    },
  );

  it('by Remote Desktop is not passed on: its clients reach it by themselves', async () => {
    find = async () => ({ serverId: 'server', protocol: 'rdp', expiresAt: '2999-01-01T00:00:00.000Z' });
    expect((await knock('/console/?token=t')).status).toBe(401);
  });

  it.each(['vnc', 'serial', 'mks'] as const)('by %s is asked of its host by that name', async (protocol) => {
    find = async () => ({ serverId: 'server', protocol, expiresAt: '2999-01-01T00:00:00.000Z' });
    const asked = new Promise<[string, string]>((resolve) => {
      dial = (url, by) => resolve([url, by]);
    });
    const user = new WebSocket(`ws://127.0.0.1:${port}/console/?token=t`);
    const [[url, by]] = await Promise.all([asked, once(user, 'open')]);
    expect(by).toBe(protocol);
    const host = new WebSocket(url);
    await once(host, 'open');
    user.close();
    await once(host, 'close');
  });

  it('joins both sides', async () => {
    const heard: string[] = [];
    dial = (url) => {
      const host = new WebSocket(url);
      host.on('message', (data) => host.send(`host heard ${data}`));
    };
    const user = new WebSocket(`ws://127.0.0.1:${port}/console/?token=t`);
    user.once('open', () => user.send('hello'));
    user.on('message', (data) => heard.push(String(data)));
    await once(user, 'message');
    expect(heard).toEqual(['host heard hello']);
    user.close();
    await once(user, 'close');
  });

  it('waits for a user that is slow, and keeps a little for it meanwhile', async () => {
    const [count, size] = [1024, 64 * 1024];
    const gone = { sent: 0 };
    dial = (url) => {
      const host = new WebSocket(url);
      const go = () => {
        if (gone.sent < count) host.send(Buffer.alloc(size, gone.sent++), go);
      };
      host.once('open', go);
    };
    const user = new WebSocket(`ws://127.0.0.1:${port}/console/?token=t`);
    await once(user, 'message');
    user.pause();
    await expect.poll(standing(gone), { interval: 200 }).toBe(true);
    expect(gone.sent).toBeLessThan(count);
    const heard: Buffer[] = [];
    user.on('message', (data: Buffer) => heard.push(data));
    user.resume();
    await expect.poll(() => heard.length, { timeout: 10_000 }).toBeGreaterThanOrEqual(count - 2);
    expect(heard.at(-1)).toEqual(Buffer.alloc(size, count - 1));
    user.close();
    await once(user, 'close');
  });

  it('is closed for the host when its user leaves that was slow', async () => {
    const gone = { sent: 0 };
    const left = new Promise<void>((resolve) => {
      dial = (url) => {
        const host = new WebSocket(url);
        const go = () => {
          gone.sent++;
          if (host.readyState === host.OPEN) host.send(Buffer.alloc(64 * 1024), go);
        };
        host.once('open', go).once('close', resolve);
      };
    });
    const user = new WebSocket(`ws://127.0.0.1:${port}/console/?token=t`);
    await once(user, 'message');
    user.pause();
    await expect.poll(standing(gone), { interval: 200 }).toBe(true);
    user.terminate();
    await left;
  });

  it('outlives a client that breaks off while it is judged', async () => {
    let judged = () => {};
    const asked = new Promise<void>((resolve) => {
      find = () => {
        resolve();
        return new Promise((answer) => {
          judged = () => answer(null);
        });
      };
    });
    const headers = Object.entries({ host: 'x', ...HANDSHAKE }).map(([name, value]) => `${name}: ${value}\r\n`);
    const client = connect(port, '127.0.0.1', () =>
      client.write(`GET /console/?token=t HTTP/1.1\r\n${headers.join('')}\r\n`),
    );
    await asked;
    client.resetAndDestroy();
    await once(client, 'close');
    for (let n = 0; n < 20; n++) await new Promise(setImmediate);
    judged();
    for (let n = 0; n < 20; n++) await new Promise(setImmediate);
    find = async () => null;
    expect((await knock('/console/?token=t')).status).toBe(401);
  });

  it('outlives a user that says more at once than it may', async () => {
    dial = () => {};
    const user = new WebSocket(`ws://127.0.0.1:${port}/console/?token=t`);
    await once(user, 'open');
    user.send(Buffer.alloc(64 * 1024 + 1));
    const [code] = await once(user, 'close');
    expect(code).toBe(1009);
  });

  it('is closed for the host when its user has left meanwhile', async () => {
    const asked = new Promise<string>((resolve) => {
      dial = resolve;
    });
    const user = new WebSocket(`ws://127.0.0.1:${port}/console/?token=t`);
    const [url] = await Promise.all([asked, once(user, 'open')]);
    user.terminate();
    await once(user, 'close');
    await once(new WebSocket(url), 'close');
    expect(errors).toEqual([]);
  });

  it('is given up when its user says too much before the host is there', async () => {
    dial = () => {};
    const user = new WebSocket(`ws://127.0.0.1:${port}/console/?token=t`);
    await once(user, 'open');
    for (let n = 0; n < 40; n++) user.send(Buffer.alloc(64 * 1024));
    const [code] = await once(user, 'close');
    expect(code).toBe(1013);
    await clock.advance(seconds(10));
  });
});
