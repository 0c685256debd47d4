import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { connectUnix } from '../unix-socket.js';
import { dial, IncomingRelay } from './relay.js';

const key = randomBytes(32).toString('hex');

const heard = (socket: Socket): Promise<string> =>
  new Promise((resolve) => {
    let text = '';
    socket.on('data', (data: Buffer) => {
      text += data.toString();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => resolve(text));
  });

describe('the relay of a migration', () => {
  let folder: string;
  let relay: IncomingRelay;
  let channels: string[];

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'omnivisor-relay-'));
    channels = [];
    relay = await IncomingRelay.open(join(folder, 'relay.sock'), key, '127.0.0.1', (channel, socket) => {
      channels.push(channel);
      socket.on('data', (data: Buffer) => socket.end(`heard ${data}`));
    });
  });
  afterEach(() => {
    relay.close();
    rmSync(folder, { recursive: true });
  });

  it.each([true, false])('carries a channel to who knows its key (on one machine: %s)', async (sameMachine) => {
    const socket = await dial(relay.endpoints, sameMachine, key, 'disk root');
    socket.write('hello');
    expect(await heard(socket)).toBe('heard hello');
    expect(channels).toEqual(['disk root']);
  });

  it('hangs up on another key, on one machine', async () => {
    const socket = await connectUnix(relay.endpoints.socket);
    socket.write(`${randomBytes(32).toString('hex')} memory\n`);
    expect(await heard(socket)).toBe('');
    const long = await connectUnix(relay.endpoints.socket);
    long.write('x'.repeat(10_000));
    expect(await heard(long)).toBe('');
    expect(channels).toEqual([]);
  });

  it('comes to no understanding with another key, between machines', async () => {
    const other = randomBytes(32).toString('hex');
    await expect(dial(relay.endpoints, false, other, 'memory')).rejects.toMatchObject({ code: 'unavailable' });
    expect(channels).toEqual([]);
  });

  it('OSSN-0089: speaks nothing but TLS between machines', async () => {
    const { port } = relay.endpoints.tcp!;
    const plain = connect(port, '127.0.0.1');
    plain.write(`${key} memory\n`);
    expect(await heard(plain)).not.toContain('heard');
    const anonymous = connectTls({ host: '127.0.0.1', port, rejectUnauthorized: false });
    expect(await heard(anonymous)).toBe('');
    expect(channels).toEqual([]);
  });

  it('is not to be had from another machine when it has no address', async () => {
    await expect(dial({ ...relay.endpoints, tcp: null }, false, key, 'memory')).rejects.toMatchObject({
      code: 'unavailable',
    });
  });
});
