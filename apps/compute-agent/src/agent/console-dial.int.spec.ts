import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { PassThrough, Readable, Writable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type WebSocket, WebSocketServer } from 'ws';
import type { ConsoleStream } from '../drivers/hypervisor-driver.js';
import { dialConsole } from './console-dial.js';

const MIB = 1024 * 1024;

describe('a console that is joined to the gateway', () => {
  let gateway: WebSocketServer;
  let dialled: Promise<[WebSocket]>;
  beforeEach(async () => {
    gateway = new WebSocketServer({ host: '127.0.0.1', port: 0, maxPayload: 64 * 1024 });
    dialled = once(gateway, 'connection') as Promise<[WebSocket]>;
    await once(gateway, 'listening');
  });
  afterEach(() => {
    for (const socket of gateway.clients) socket.terminate();
    gateway.close();
  });
  const join = async (readable: Readable, writable: Writable) => {
    const world = { closed: 0 };
    const close = () => {
      world.closed++;
    };
    const console: ConsoleStream = { readable, writable, close };
    await dialConsole(`ws://127.0.0.1:${(gateway.address() as AddressInfo).port}`, console);
    return { user: (await dialled)[0], world };
  };

  it('waits for a user that is slow, however much comes at once, and loses nothing', async () => {
    let made = 0;
    const screen = new Readable({
      highWaterMark: 4 * MIB,
      read() {
        this.push(made < 16 ? Buffer.alloc(4 * MIB, made++) : null);
      },
    });
    gateway.on('connection', (socket) => socket.pause());
    const { user, world } = await join(screen, new PassThrough());
    await expect.poll(() => screen.isPaused()).toBe(true);
    expect([world.closed, user.readyState, made < 16]).toEqual([0, user.OPEN, true]);
    const heard: Buffer[] = [];
    user.on('message', (data: Buffer) => heard.push(data));
    user.resume();
    await once(user, 'close');
    const all = Buffer.concat(heard);
    expect(all.length).toBe(64 * MIB);
    expect(all.at(-1)).toBe(15);
    await expect.poll(() => world.closed).toBeGreaterThan(0);
  });

  it('is given up when its guest takes nothing of what its user says', async () => {
    const guest = new Writable({ write: () => {} });
    const { user, world } = await join(new PassThrough(), guest);
    const closed = once(user, 'close');
    for (let n = 0; n < 1024; n++) user.send(Buffer.alloc(64 * 1024));
    await closed;
    expect(guest.writableLength).toBeLessThan(2 * MIB);
    expect(world.closed).toBeGreaterThan(0);
  });
});
