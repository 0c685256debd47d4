import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { QmpClient } from './qmp-client.js';

const GREETING = '{"QMP":{"version":{},"capabilities":[]}}\n';

/** A server that speaks the protocol as a test wants, over a real socket. */
describe('a QMP client', () => {
  let dir: string;
  let server: Server;
  let path: string;
  const sockets: Socket[] = [];

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'omnivisor-qmp-'));
    path = join(dir, 'qmp.sock');
  });
  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
    rmSync(dir, { recursive: true });
  });

  const serve = (answer: (command: string, id: number, socket: Socket) => void, greeting = GREETING) =>
    new Promise<void>((resolve) => {
      server = createServer((socket) => {
        sockets.push(socket);
        socket.write(greeting);
        socket.on('data', (bytes) => {
          for (const line of bytes.toString().split('\n').filter(Boolean)) {
            const { execute, id } = JSON.parse(line);
            if (execute === 'qmp_capabilities') socket.write(`{"return":{},"id":${id}}\r\n`);
            else answer(execute, id, socket);
          }
        });
      }).listen(path, resolve);
    });

  it('matches answers to calls that cross, also in pieces', async () => {
    const ids: number[] = [];
    await serve((_command, id, socket) => {
      ids.push(id);
      if (ids.length < 2) return;
      socket.write(`{"return":"second","id":${ids[1]}}\n{"return":"fi`);
      setImmediate(() => socket.write(`rst","id":${ids[0]}}\n`));
    });
    const client = await QmpClient.connect(path, 1_000);
    expect(await Promise.all([client.call('a'), client.call('b')])).toEqual(['first', 'second']);
    client.close();
  });

  it('rejects what QEMU refuses, with its words kept apart', async () => {
    await serve((_command, id, socket) =>
      socket.write(`{"error":{"class":"GenericError","desc":"no such thing"},"id":${id}}\n`),
    );
    const client = await QmpClient.connect(path, 1_000);
    await expect(client.call('x')).rejects.toMatchObject({ code: 'fault', native: 'GenericError: no such thing' });
    client.close();
  });

  it('hands out events, and tells when the connection ends', async () => {
    await serve((_command, id, socket) => {
      socket.write(`{"event":"STOP","data":{}}\n{"return":{},"id":${id}}\n`);
      socket.end();
    });
    const client = await QmpClient.connect(path, 1_000);
    const events: string[] = [];
    client.onEvent(({ event }) => events.push(event));
    const closed = new Promise<void>((resolve) => client.onClose(resolve));
    await client.call('stop');
    await closed;
    expect(events).toEqual(['STOP']);
    await expect(client.call('cont')).rejects.toMatchObject({ code: 'unavailable' });
  });

  it.each([
    ['a server that says nothing', ''],
    ['a server that speaks something else', 'SSH-2.0-OpenSSH\n'],
  ])('gives up on %s', async (_what, greeting) => {
    await serve(() => {}, greeting);
    await expect(QmpClient.connect(path, 100)).rejects.toMatchObject({ code: 'unavailable' });
  });

  it('gives up on a call that gets no answer', async () => {
    await serve(() => {});
    const client = await QmpClient.connect(path, 100);
    await expect(client.call('query-status')).rejects.toMatchObject({ code: 'unavailable' });
    client.close();
  });
});
