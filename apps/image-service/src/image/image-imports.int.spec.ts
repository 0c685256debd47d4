import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { qcow2Image } from '../formats/vectors.js';
import { type ImageCloud, startImageCloud } from '../testing/image-cloud.js';

let server: Server;
let handler: RequestListener;
let port = 0;
beforeAll(async () => {
  server = createServer((request, response) => handler(request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  port = (server.address() as AddressInfo).port;
});
afterAll(() => new Promise((resolve) => server.close(resolve)));

describe('an import', () => {
  let cloud: ImageCloud;
  /** What a name resolves to; the mirror is the one address that is allowed here. */
  let names: Record<string, string[][]>;
  beforeEach(async () => {
    names = { mirror: [['127.0.0.1']] };
    cloud = await startImageCloud({
      settings: {
        ...{ maxImageSize: 2_000_000, idleTimeout: 500 },
        imports: { ports: [80, port], networks: ['127.0.0.1/32'] },
      },
      resolve: async (name) => {
        const answers = names[name] ?? [];
        const now = answers.length > 1 ? answers.shift()! : (answers[0] ?? []);
        return now.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
      },
    });
  });
  afterEach(() => cloud.stop());

  const call = async (method: string, path: string, body?: unknown, as = 'p1') => {
    const octets = Buffer.isBuffer(body);
    const answer = await cloud.app.fastify.inject({
      ...{ method: method as 'GET', url: `/image/v2${path}` },
      headers: {
        'x-auth-token': as,
        ...(body === undefined ? {} : { 'content-type': octets ? 'application/octet-stream' : 'application/json' }),
      },
      ...(body === undefined ? {} : { payload: octets ? body : JSON.stringify(body) }),
    });
    return { status: answer.statusCode, text: answer.body, json: () => answer.json(), headers: answer.headers };
  };
  const create = async (more: object = {}) =>
    (await call('POST', '/images', { disk_format: 'qcow2', container_format: 'bare', ...more })).json().id as string;
  const begin = (id: string, name: string, uri?: unknown) =>
    call('POST', `/images/${id}/import`, { method: { name, ...(uri === undefined ? {} : { uri }) } });
  const status = async (id: string) => (await call('GET', `/images/${id}`)).json().status;
  const task = async (id: string) => (await call('GET', `/images/${id}/tasks`)).json().tasks[0];
  const ended = async (id: string) => {
    await vi.waitFor(async () => expect((await task(id)).status).not.toBe('processing'), {
      timeout: 5_000,
      interval: 20,
    });
    return task(id);
  };
  const stored = async () => {
    const keys: string[] = [];
    for await (const { key } of cloud.store.list()) keys.push(key);
    return keys.length;
  };

  it('of staged bytes makes the image active, and its task tells so', async () => {
    const id = await create();
    expect((await call('PUT', `/images/${id}/stage`, qcow2Image())).status).toBe(204);
    expect(await status(id)).toBe('uploading');
    expect((await begin(id, 'glance-direct')).status).toBe(202);
    const done = await ended(id);
    expect(done).toMatchObject({
      ...{ status: 'success', type: 'api_image_import', image_id: id, owner: 'p1', user_id: 'user-of-p1' },
      input: { image_id: id, import_req: { method: { name: 'glance-direct' } } },
    });
    expect((await call('GET', `/images/${id}`)).json()).toMatchObject({
      status: 'active',
      virtual_size: 10 * 1024 ** 2,
    });
    expect((await call('GET', `/images/${id}/file`)).text.slice(0, 3)).toBe('QFI');
    expect(await stored()).toBe(1);
  });

  it('of staged bytes that are refused fails with the reason, keeps nothing, and the image waits again', async () => {
    const id = await create();
    await call('PUT', `/images/${id}/stage`, qcow2Image({ backing: '/etc/passwd' }));
    await begin(id, 'glance-direct');
    expect(await ended(id)).toMatchObject({ status: 'failure', message: expect.stringMatching(/backing file/) });
    expect([await status(id), await stored()]).toEqual(['queued', 0]);
    await call('PUT', `/images/${id}/stage`, qcow2Image());
    await begin(id, 'glance-direct');
    expect((await ended(id)).status).toBe('success');
  });

  it('from the web stores what the URI gives, through redirects', async () => {
    const bytes = qcow2Image();
    handler = (request, response) => {
      if (request.url === '/image?token=secret') response.end(bytes);
      else response.writeHead(302, { location: '/image?token=secret' }).end();
    };
    const id = await create();
    expect((await begin(id, 'web-download', `http://mirror:${port}/first`)).status).toBe(202);
    expect((await ended(id)).status).toBe('success');
    expect((await call('GET', `/images/${id}`)).json().size).toBe(bytes.length);
    const log = JSON.stringify(await cloud.log.readStream(`image-${id}`));
    expect(log).toContain(`http://mirror:${port}/first`);
    expect(log).not.toContain('secret');
  });

  it('OSSA-2026-010 from the web takes nothing of ours along', async () => {
    const heard: string[] = [];
    handler = (request, response) => {
      heard.push(...Object.keys(request.headers));
      response.end(qcow2Image());
    };
    const id = await create();
    await begin(id, 'web-download', `http://mirror:${port}/`);
    expect((await ended(id)).status).toBe('success');
    expect(heard.sort()).toEqual(['accept-encoding', 'connection', 'host', 'user-agent']);
  });

  it.each<[string, string[], RegExp]>([
    ['of a name for this machine', ['127.0.0.2'], /address is not allowed/],
    ['of a name for the metadata service', ['169.254.169.254'], /not allowed/],
    ['of a name with one bad address', ['93.184.216.34', '::1'], /not allowed/],
    ['of a name for a wrapped address', ['64:ff9b::7f00:2'], /not allowed/],
    ['of a name that is not known', [], /not allowed/],
  ])('OSSA-2026-004 from the web %s fails', async (_, addresses, reason) => {
    names.evil = [addresses];
    const id = await create();
    expect((await begin(id, 'web-download', 'http://evil/')).status).toBe(202);
    expect(await ended(id)).toMatchObject({ status: 'failure', message: expect.stringMatching(reason) });
    expect([await status(id), await stored()]).toEqual(['queued', 0]);
  });

  it.each([
    ['http://127.0.0.2/'],
    ['http://169.254.169.254/latest/'],
    ['http://2130706434/'],
    ['http://[::1]/'],
    ['file:///etc/passwd'],
    ['http://user:pass@mirror/'],
    ['http://mirror:22/'],
    ['http://rebound/'],
  ])('OSSA-2026-004 that is redirected to %s fails', async (location) => {
    names.rebound = [['127.0.0.2']];
    handler = (_, response) => response.writeHead(301, { location }).end();
    const id = await create();
    await begin(id, 'web-download', `http://mirror:${port}/`);
    expect(await ended(id)).toMatchObject({ status: 'failure', message: expect.stringMatching(/not pass filtering/) });
  });

  it('OSSA-2026-004 asks the address it checked, whatever the name server says next', async () => {
    let asked = 0;
    handler = (_, response) => {
      asked++;
      response.end(qcow2Image());
    };
    names.rebinding = [['127.0.0.1'], ['127.0.0.2']];
    const id = await create();
    await begin(id, 'web-download', `http://rebinding:${port}/`);
    expect((await ended(id)).status).toBe('success');
    expect([asked, names.rebinding]).toEqual([1, [['127.0.0.2']]]);
  });

  it.each<[string, RequestListener, RegExp]>([
    ['goes round in circles', (_, r) => r.writeHead(302, { location: '/' }).end(), /redirected too often/],
    ['is not there', (_, r) => r.writeHead(404).end(), /status 404/],
    ['is announced as too large', (_, r) => r.writeHead(200, { 'content-length': '9000000000' }).end(), /larger/],
    ['turns out too large', (_, r) => void r.write(qcow2Image(), () => r.end(Buffer.alloc(3_000_000))), /too large/],
    ['is something else', (_, r) => void r.end('<html>'), /does not match/],
    ['breaks off', (_, r) => void r.write('QFI', () => r.destroy()), /could not be read/],
    ['stands still', (_, r) => void r.write('QFI'), /did not arrive in time/],
    ['holds a trap', (_, r) => void r.end(qcow2Image({ features: 4n })), /external data file/],
  ])('of what %s fails, and keeps nothing', async (_, listener, reason) => {
    handler = listener;
    const id = await create();
    await begin(id, 'web-download', `http://mirror:${port}/`);
    expect(await ended(id)).toMatchObject({ status: 'failure', message: expect.stringMatching(reason) });
    expect([await status(id), await stored()]).toEqual(['queued', 0]);
  });

  it('to all stores is one to the store that there is', async () => {
    const id = await create();
    await call('PUT', `/images/${id}/stage`, qcow2Image());
    const into = (stores: object) =>
      call('POST', `/images/${id}/import`, { method: { name: 'glance-direct' }, ...stores });
    expect((await into({ all_stores: 'yes' })).text).toContain("'all_stores' must be boolean value only");
    expect((await into({ all_stores_must_succeed: null })).status).toBe(400);
    expect((await into({ all_stores: true, all_stores_must_succeed: false })).status).toBe(202);
    expect(await ended(id)).toMatchObject({ status: 'success' });
  });

  it('is refused at once when it cannot be', async () => {
    const id = await create();
    expect((await begin(id, 'glance-direct')).status).toBe(409);
    expect((await begin(id, 'web-download', 'http://127.0.0.2/')).status).toBe(400);
    expect((await begin(id, 'web-download')).status).toBe(400);
    expect((await begin(id, 'copy-image')).status).toBe(400);
    expect((await call('POST', `/images/${id}/import`, {})).text).toContain("requires a 'method' field");
    expect((await call('POST', `/images/${id}/import`, { method: { name: 'glance-direct' }, stores: [] })).status).toBe(
      400,
    );
    expect((await call('POST', `/images/${id}/import`, { method: { name: 'glance-direct' } }, 'p2')).status).toBe(404);
    const bare = await create({ disk_format: null });
    expect((await begin(bare, 'web-download', `http://mirror:${port}/`)).text).toContain(
      "'disk_format' needs to be set",
    );
    await call('PUT', `/images/${id}/stage`, qcow2Image());
    expect((await begin(id, 'web-download', `http://mirror:${port}/`)).status).toBe(409);
    expect((await call('PUT', `/images/${id}/stage`, qcow2Image())).status).toBe(409);
    expect((await call('PUT', `/images/${id}/file`, qcow2Image())).status).toBe(409);
  });

  it('ends with its image', async () => {
    let answer = () => {};
    handler = (_, response) => {
      response.write(qcow2Image().subarray(0, 100));
      answer = () => response.end(qcow2Image().subarray(100));
    };
    const id = await create();
    await begin(id, 'web-download', `http://mirror:${port}/`);
    await vi.waitFor(async () => expect(await stored()).toBe(1));
    expect((await call('DELETE', `/images/${id}`)).status).toBe(204);
    answer();
    await vi.waitFor(async () => expect(await stored()).toBe(0));
  });

  it('shows in the list of tasks to administrators only', async () => {
    const id = await create();
    await call('PUT', `/images/${id}/stage`, qcow2Image());
    await begin(id, 'glance-direct');
    await ended(id);
    expect((await call('GET', '/tasks')).status).toBe(403);
    const { tasks } = (await call('GET', '/tasks', undefined, 'admin')).json();
    expect(tasks).toMatchObject([{ status: 'success', schema: '/v2/schemas/task' }]);
    expect((await call('GET', `/tasks/${tasks[0].id}`, undefined, 'admin')).json().image_id).toBe(id);
    expect((await call('GET', `/tasks/${id}`, undefined, 'admin')).status).toBe(404);
    expect((await call('GET', '/tasks?status=failure', undefined, 'admin')).json().tasks).toEqual([]);
    expect((await call('GET', `/images/${id}/tasks`, undefined, 'p2')).status).toBe(404);
    expect((await call('GET', '/schemas/tasks')).status).toBe(200);
  });
});
