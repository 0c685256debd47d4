import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer as createPlainServer } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type WebSocket, WebSocketServer } from 'ws';
import { which } from '../../../../tools/services/process.mjs';
import { dialConsole } from './console-dial.js';
import { openMks } from './mks-console.js';

const folder = mkdtempSync(join(tmpdir(), 'mks-'));
afterAll(() => rmSync(folder, { recursive: true }));

const certificate = (name: string) => {
  const [key, cert] = [join(folder, `${name}.key`), join(folder, `${name}.pem`)];
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  const target = ['-keyout', key, '-out', cert, '-subj', `/CN=${name}`, '-days', '2'];
  execFileSync('openssl', ['req', '-x509', ...kind, ...target], { stdio: 'ignore' });
  return { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') };
};

describe.skipIf(!which('openssl'))('a console by WebMKS (needs openssl)', () => {
  let server: Server;
  let port: number;
  let own: string;
  let other: string;
  /** Paths that were asked for; what was said. */
  let paths: string[];
  beforeAll(async () => {
    const made = certificate('esxi');
    own = new X509Certificate(made.cert).fingerprint;
    other = new X509Certificate(certificate('somebody').cert).fingerprint;
    server = createServer(made).listen(0, '127.0.0.1');
    const sockets = new WebSocketServer({
      server,
      handleProtocols: (offered) => (offered.has('binary') ? 'binary' : false),
    });
    sockets.on('connection', (socket: WebSocket, { url }) => {
      paths.push(url!);
      if (url!.endsWith('/vast')) return socket.send(Buffer.alloc(4 * 1024 * 1024 + 1));
      if (!url!.endsWith('/good')) return socket.terminate();
      socket.send(Buffer.alloc(200_000, 'x'));
      socket.on('message', (data, isBinary) => socket.send(`${isBinary} ${data}`));
    });
    await once(server, 'listening');
    port = (server.address() as AddressInfo).port;
  });
  afterAll(() => {
    server.closeAllConnections();
    server.close();
  });
  beforeEach(() => {
    paths = [];
  });
  const ticket = (thumbprint: string | null, accessPath = 'good') =>
    ({ kind: 'mks', host: '127.0.0.1', port, accessPath, thumbprint }) as const;

  it('is opened with a ticket at who shows the certificate that came with it, and joined to the gateway', async () => {
    const gateway = createPlainServer().listen(0, '127.0.0.1');
    await once(gateway, 'listening');
    const sockets = new WebSocketServer({ server: gateway, maxPayload: 64 * 1024 });
    const dialled = once(sockets, 'connection') as Promise<[WebSocket]>;
    const { port: at } = gateway.address() as AddressInfo;
    await dialConsole(`ws://127.0.0.1:${at}`, await openMks(ticket(own)));
    const [user] = await dialled;
    expect(paths).toEqual(['/ticket/good']);
    let heard = '';
    user.on('message', (data) => {
      heard += String(data);
    });
    await expect.poll(() => heard.length).toBe(200_000);
    user.send(Buffer.from('hello'));
    await expect.poll(() => heard.slice(200_000)).toBe('true hello');
    user.close();
    await expect.poll(() => sockets.clients.size).toBe(0);
    gateway.close();
  });

  it('ends when it says more at once than is kept of it', async () => {
    const { readable } = await openMks(ticket(own, 'vast'));
    const [error] = await once(readable, 'error');
    expect(error).toMatchObject({ code: 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH' });
  });

  it.each([
    ['with another certificate', () => ticket(other)],
    ['that no authority vouches for', () => ticket(null)],
  ])('tells its ticket to nobody %s', async (_, of) => {
    await expect(openMks(of())).rejects.toMatchObject({ code: 'unavailable' });
    expect(paths).toEqual([]);
  });

  it('is unavailable where nobody listens', async () => {
    await expect(openMks({ ...ticket(own), port: 1 })).rejects.toMatchObject({ code: 'unavailable' });
  });
});
