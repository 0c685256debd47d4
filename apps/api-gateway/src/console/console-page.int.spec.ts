import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { VirtualClock } from '@omnivisor/platform/testing';
import { type FastifyInstance, fastify } from 'fastify';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createWebSocketStream, WebSocket } from 'ws';
import { waitFor, which } from '../../../../tools/services/process.mjs';
import { consoleUrl } from '../compute/console/console-url.js';
import type { LiveAnswers } from '../compute/host/live-answers.js';
import type { GatewayCore } from '../core/gateway-core.js';
import { Browser } from '../testing/browser.js';
import { serveConsolePages } from './console-pages.js';
import { ConsoleProxy } from './console-proxy.js';

const canRun = which('chromium-headless-shell') && which('qemu-system-x86_64');
/** What a guest calls itself is text of others. */
const NAME = '<img src=x onerror=document.title=1>';

describe.skipIf(!canRun)('the page of a VNC console, in a browser', () => {
  const folder = mkdtempSync(join(tmpdir(), 'console-page-'));
  const socket = join(folder, 'vnc');
  let guest: ChildProcess;
  let app: FastifyInstance;
  let browser: Browser;
  let root: string;
  beforeAll(async () => {
    const options = [
      '-S',
      '-M',
      'pc',
      '-accel',
      'tcg',
      '-m',
      '16',
      '-nodefaults',
      '-vga',
      'std',
      '-name',
      `guest=${NAME}`,
    ];
    guest = spawn('qemu-system-x86_64', [...options, '-vnc', `unix:${socket}`], { stdio: 'ignore' });
    const answers = () =>
      new Promise<boolean>((resolve) => {
        const knock = connect(socket, () => resolve(true)).once('error', () => resolve(false));
        knock.once('connect', () => knock.destroy());
      });
    await waitFor(answers, { what: 'the VNC of a guest', timeout: 20_000 });
    app = fastify();
    await serveConsolePages(app, ['https://dashboard.example']);
    await app.listen({ port: 0, host: '127.0.0.1' });
    root = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`;
    const row = { id: 'server', onHost: 'host', deleteRequested: false, power: 'running' };
    const core = {
      clock: new VirtualClock(),
      ids: { hex: () => 'ab'.repeat(16) },
      fresh: async () => ({ get: async () => row }),
    } as unknown as GatewayCore;
    // The host's agent does the same.
    const live = {
      ask: async (_: string, { url }: { url: string }) => {
        const dialled = createWebSocketStream(new WebSocket(url));
        const vnc = connect(socket);
        dialled.on('error', () => vnc.destroy()).pipe(vnc);
        vnc.on('error', () => dialled.destroy()).pipe(dialled);
        return { ok: true };
      },
    } as unknown as LiveAnswers;
    const good = { serverId: 'server', protocol: 'vnc', expiresAt: '2999-01-01T00:00:00.000Z' } as const;
    let asked = 0;
    const tokens = { find: async () => (asked++ === 0 ? good : null) };
    new ConsoleProxy(core, tokens, live, {
      agentUrl: root.replace('http', 'ws'),
      origins: [root],
      onError: (_, error) => {
        throw error;
      },
    }).attach(app.server);
    browser = await Browser.start();
  });
  afterAll(async () => {
    await browser?.stop();
    await app?.close();
    const ended = guest && guest.exitCode === null ? once(guest, 'exit') : undefined;
    guest?.kill('SIGKILL');
    await ended;
    rmSync(folder, { recursive: true, force: true });
  });

  const status = () => browser.evaluate<string>(`document.getElementById('status').innerText`);

  it('OSSA-2026-006 shows the screen of a guest and its name as text, and nothing that its policy keeps out', async () => {
    await browser.open(consoleUrl(root, 'vnc', 'good'));
    await browser.until(`!document.getElementById('ctrl-alt-del').disabled`);
    expect(await status()).toBe(`Connected to QEMU (${NAME})`);
    expect(await browser.evaluate(`document.title`)).toBe('noVNC');
    const size = `(() => { const { width, height } = document.querySelector('canvas'); return [width, height]; })()`;
    expect(await browser.evaluate(size)).toEqual([640, 480]);
    expect(browser.complaints).toEqual([]);
  });

  it('says so when the token is over', async () => {
    await browser.open(consoleUrl(root, 'vnc', 'old'));
    await browser.until(`document.getElementById('status').innerText.includes('token is over')`);
  });

  it.each(['//evil.example/x', 'https://evil.example/', 'javascript:alert(1)', '//['])(
    'OSSA-2020-008 goes to no other server: %s',
    async (path) => {
      await browser.open(`${root}/console/vnc_lite.html?path=${encodeURIComponent(path)}`);
      await browser.until(`document.getElementById('status').innerText !== 'Loading'`);
      expect(await status()).toBe('This is no link to a console of this cloud.');
    },
  );

  it('may be framed by itself and by dashboards that are named, and gives no file but its own', async () => {
    const { headers } = await app.inject('/console/vnc_lite.html');
    expect(headers['content-security-policy']).toContain("frame-ancestors 'self' https://dashboard.example;");
    for (const path of ['/console/', '/console/novnc/package.json', '/console/novnc/core/%2e%2e/package.json'])
      expect((await app.inject(path)).statusCode).toBe(404);
  });
});
