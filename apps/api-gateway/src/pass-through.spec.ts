import { createServer, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Module } from '@nestjs/common';
import { createOpenStackApp, type OpenStackApp, RequestLimiter } from '@omnivisor/openstack';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { passThrough } from './pass-through.js';

class Nothing {}
Module({})(Nothing);

const quiet = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
const seen: { url: string; headers: NodeJS.Dict<string | string[]>; bytes: number }[] = [];
let upstream: Server;
let app: OpenStackApp;
let root: string;
let isTrusted = false;

beforeAll(async () => {
  upstream = createServer((request, response) => {
    let bytes = 0;
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
    });
    request.on('end', () => {
      if (request.url === '/image/v2/ends' && !seen.some((s) => s.url === request.url)) request.socket.destroy();
      seen.push({ url: request.url ?? '', headers: request.headers, bytes });
      response.writeHead(request.url === '/image/' ? 300 : 201, { 'x-openstack-request-id': 'req-upstream' });
      response.end('from upstream');
    });
  });
  await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve));
  app = await createOpenStackApp({
    module: Nothing,
    services: ['identity'],
    tokens: () => ({ validate: async () => null }),
    logger: quiet,
    extend: (fastify) =>
      passThrough(
        fastify,
        [
          { prefix: '/image', upstream: `http://127.0.0.1:${(upstream.address() as AddressInfo).port}` },
          { prefix: '/placement', upstream: 'http://127.0.0.1:1' },
        ],
        () => isTrusted,
        new RequestLimiter({ uploads: 9, lists: 9 }),
      ),
  });
  root = `http://127.0.0.1:${await app.listen(0, '127.0.0.1')}`;
});
afterAll(async () => {
  await app?.close();
  upstream?.close();
});

it('passes what it does not judge, and tells where it came from', async () => {
  const answer = await fetch(`${root}/image/`, {
    headers: { 'x-auth-token': 't', 'x-forwarded-prefix': '/evil', 'x-forwarded-host': 'evil' },
  });
  expect([answer.status, await answer.text(), answer.headers.get('x-openstack-request-id')]).toEqual([
    300,
    'from upstream',
    'req-upstream',
  ]);
  expect(seen.at(-1)?.headers).toMatchObject({
    'x-auth-token': 't',
    'x-forwarded-host': root.slice(7),
    'x-forwarded-proto': 'http',
  });
  expect(seen.at(-1)?.headers).not.toHaveProperty('x-forwarded-prefix');
});

it('passes on what a trusted proxy tells of the public URL, as far as it makes sense', async () => {
  const told = async (headers: Record<string, string>) => {
    isTrusted = true;
    await fetch(`${root}/image/`, { headers });
    isTrusted = false;
    const { 'x-forwarded-proto': proto, 'x-forwarded-host': host, 'x-forwarded-prefix': prefix } = seen.at(-1)!.headers;
    return [proto, host, prefix];
  };
  const proxy = { 'x-forwarded-proto': 'https', 'x-forwarded-host': 'cloud.example:444' };
  expect(await told({ ...proxy, 'x-forwarded-prefix': '/pre/' })).toEqual(['https', 'cloud.example:444', '/pre']);
  // Else the service behind would name itself.
  const odd = { 'x-forwarded-proto': 'odd', 'x-forwarded-host': 'a b<c>', 'x-forwarded-prefix': '//odd' };
  expect(await told(odd)).toEqual(['http', root.slice(7), undefined]);
});

it('asks once more when the connection ends, if nothing is changed by it', async () => {
  const ends = (method: string) => fetch(`${root}/image/v2/ends`, { method });
  expect((await ends('GET')).status).toBe(201);
  seen.length = 0;
  expect((await ends('DELETE')).status).toBe(503);
});

it.each(['application/octet-stream', 'application/json', undefined])(
  'passes a body of type %s on that is larger than the limit of ours',
  async (type) => {
    const body = new Uint8Array(5 * 1024 * 1024);
    const answer = await fetch(`${root}/image/v2/images/1/file`, {
      method: 'PUT',
      body,
      headers: type ? { 'content-type': type } : {},
    });
    expect([answer.status, seen.at(-1)?.bytes, seen.at(-1)?.url]).toEqual([
      201,
      body.length,
      '/image/v2/images/1/file',
    ]);
  },
);

it('says when the service is away', async () => {
  const answer = await fetch(`${root}/placement/traits`);
  expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '1']);
  expect(await answer.text()).not.toContain('127.0.0.1:1');
});

it.each([
  ['lists', 'GET', '/image/v2/images?limit=1'],
  ['uploads', 'PUT', '/image/v2/images/6f70656e-6e65-4bad-8f0d-5c6e3f2a1b07/file'],
] as const)('lets a source ask for %s so often and no more, in the words of the service', async (_, method, path) => {
  const ask = () => fetch(root + path, { method, ...(method === 'PUT' ? { body: 'x' } : {}) });
  const seen = (await Promise.all(Array.from({ length: 20 }, ask))).map((a) => a.status);
  expect([...new Set(seen)].sort()).toEqual([201, 429]);
  const answer = await ask();
  expect([answer.status, Number(answer.headers.get('retry-after')) > 0]).toEqual([429, true]);
  expect(await answer.text()).toContain('429 Too Many Requests');
  expect((await fetch(`${root}/image/v2/images/6f70656e-6e65-4bad-8f0d-5c6e3f2a1b07`)).status).toBe(201);
});

it('takes the body of a client that waits to be told to send it', async () => {
  const status = await new Promise<number>((resolve, reject) => {
    const headers = { expect: '100-continue', 'content-type': 'application/octet-stream' };
    const upload = request(`${root}/image/v2/images/x/file`, { method: 'PUT', headers }, (answer) => {
      answer.resume();
      resolve(answer.statusCode!);
    });
    upload.once('error', reject).once('continue', () => upload.end('bytes'));
    upload.flushHeaders();
  });
  expect(status).toBe(201);
  expect(seen.at(-1)).toMatchObject({ bytes: 5 });
  expect(seen.at(-1)?.headers).not.toHaveProperty('expect');
});
