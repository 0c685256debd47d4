import { createHash } from 'node:crypto';
import { describeImage, type GuestFacts, signImageUrl } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { qcow2Image } from './formats/vectors.js';
import { readinessOf } from './guest/readiness.js';
import { imagesTable } from './image/image.projection.js';
import { imageAggregate } from './image/image-lifecycle.js';
import { serviceContext } from './service-context.js';
import { type ImageCloud, startImageCloud } from './testing/image-cloud.js';

let cloud: ImageCloud;
beforeAll(async () => {
  cloud = await startImageCloud({ settings: { maxImageSize: 2_000_000 } });
});
afterAll(() => cloud.stop());

const call = async (
  method: string,
  path: string,
  options: { as?: string | null; body?: unknown; type?: string; headers?: Record<string, string>; raw?: string } = {},
) => {
  const payload =
    options.body === undefined || Buffer.isBuffer(options.body) ? options.body : JSON.stringify(options.body);
  const answer = await cloud.app.fastify.inject({
    method: method as 'GET',
    url: options.raw ?? `/image/v2${path}`,
    headers: {
      ...(options.as === null ? {} : { 'x-auth-token': options.as ?? 'p1' }),
      ...(payload === undefined ? {} : { 'content-type': options.type ?? 'application/json' }),
      ...options.headers,
    },
    ...(payload === undefined ? {} : { payload: payload as Buffer | string }),
  });
  return {
    status: answer.statusCode,
    headers: answer.headers,
    text: answer.body,
    bytes: answer.rawPayload,
    // biome-ignore lint/suspicious/noExplicitAny: a spec reads what the API answers
    json: (): any => answer.json(),
  };
};
const OCTETS = 'application/octet-stream';
const PATCH = 'application/openstack-images-v2.1-json-patch';
const create = async (body: object = {}, as = 'p1') => {
  const answer = await call('POST', '/images', {
    as,
    body: { name: 'i', disk_format: 'raw', container_format: 'bare', ...body },
  });
  expect(answer.status, answer.text).toBe(201);
  return answer.json();
};
const upload = (id: string, bytes: Buffer, as = 'p1', headers: Record<string, string> = {}) =>
  call('PUT', `/images/${id}/file`, { as, body: bytes, type: OCTETS, headers });
const patch = (id: string, body: unknown, as = 'p1') => call('PATCH', `/images/${id}`, { as, body, type: PATCH });
const stored = async () => {
  const keys: string[] = [];
  for await (const { key } of cloud.store.list()) keys.push(key);
  return keys;
};

describe('discovery', () => {
  it('offers the versions without a token', async () => {
    const answer = await call('GET', '', { as: null, raw: '/image/' });
    expect(answer.status).toBe(300);
    expect(answer.json().versions[0]).toMatchObject({ id: 'v2.17', status: 'CURRENT' });
  });
  it('wants a token for everything else', async () =>
    expect((await call('GET', '/images', { as: null })).status).toBe(401));
  it('OSSN-0105 has one way to import, and no task that anybody makes', async () => {
    for (const as of ['admin', 'p1']) {
      const input = { import_from: 'http://169.254.169.254/', import_from_format: 'raw', image_properties: {} };
      expect((await call('POST', '/tasks', { as, body: { type: 'import', input } })).status).toBe(405);
    }
  });
  it('OSSN-0090 tells nobody where bytes lie, and takes no other place for them', async () => {
    const { id } = await create();
    expect((await upload(id, Buffer.alloc(512))).status).toBe(204);
    for (const as of ['p1', 'admin']) {
      const shown = (await call('GET', `/images/${id}`, { as })).json();
      for (const key of ['locations', 'direct_url', 'file_path', 'stores']) expect(shown).not.toHaveProperty(key);
      for (const op of ['add', 'replace'] as const) {
        const body = [{ op, path: '/locations', value: [{ url: 'file:///etc/passwd', metadata: {} }] }];
        const answer = await call('PATCH', `/images/${id}`, { as, body, type: PATCH });
        expect([op, answer.status >= 400]).toEqual([op, true]);
      }
      expect((await call('POST', `/images/${id}/locations`, { as, body: { url: 'http://x/' } })).status).toBe(404);
    }
    expect((await upload(id, Buffer.alloc(1024))).status).toBe(409);
  });
  it('says what it does not have', async () => {
    expect((await call('GET', '/info/stores')).status).toBe(404);
    expect((await call('POST', '/tasks', { as: 'admin', body: {} })).status).toBe(405);
    expect((await call('GET', '/info/import')).json()['import-methods'].value).toEqual([
      'glance-direct',
      'web-download',
    ]);
    expect((await call('GET', '/schemas/images')).json().properties.images.items.name).toBe('image');
    expect((await call('GET', '/schemas/members')).status).toBe(200);
  });
});

describe('creating an image', () => {
  it('gives back all of it', async () => {
    const image = await create({ name: 'full', tags: ['b', 'a', 'a'], min_ram: 64, os_distro: 'debian', owner: 'p1' });
    expect(image).toMatchObject({
      name: 'full',
      status: 'queued',
      visibility: 'shared',
      owner: 'p1',
      tags: ['a', 'b'],
      min_ram: 64,
      min_disk: 0,
      os_distro: 'debian',
      size: null,
      checksum: null,
      os_hash_algo: null,
      protected: false,
      os_hidden: false,
      self: `/v2/images/${image.id}`,
      file: `/v2/images/${image.id}/file`,
      schema: '/v2/schemas/image',
    });
    expect(image.created_at).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  });
  it('takes an id once', async () => {
    const id = 'b9a2e9b4-8a3c-4f8e-8a35-2f8c0f0c0b01';
    await create({ id });
    const again = await call('POST', '/images', { body: { id } });
    expect([again.status, again.text]).toEqual([409, expect.stringContaining('already exists')]);
  });
  it.each([
    ['a number as property', { a: 1 }, 400],
    ['a null property', { a: null }, 400],
    ['an unknown format', { disk_format: 'exe' }, 400],
    ['a long name', { name: 'x'.repeat(256) }, 400],
    ['a negative size', { min_disk: -1 }, 400],
    ['an id that is none', { id: 'x' }, 400],
    ['a visibility that is none', { visibility: 'some' }, 400],
    ['tags that are no texts', { tags: [1] }, 400],
    ['a list', [], 400],
    ['a read-only attribute', { status: 'active' }, 403],
    ['a link', { self: '/x' }, 403],
    ['a reserved name', { deleted: 'x' }, 403],
    ['a reserved prefix', { os_glance_x: 'x' }, 403],
    ['an image of others', { owner: 'p2' }, 403],
    ['a public image', { visibility: 'public' }, 403],
    ['locations', { locations: [] }, 400],
    ['too many tags', { tags: Array.from({ length: 200 }, (_, i) => `t${i}`) }, 413],
  ])('with %s is refused', async (_, body, status) => {
    const answer = await call('POST', '/images', { body });
    // Locations are read by nobody: either refusal keeps them out.
    if ('locations' in body) expect([400, 403]).toContain(answer.status);
    else expect(answer.status, answer.text).toBe(status);
  });
  it('is for members', async () =>
    expect((await call('POST', '/images', { as: 'reader', body: {} })).status).toBe(403));
  it('speaks as Glance does', async () => {
    const html = await call('POST', '/images', { body: { a: 1 }, headers: { accept: '*/*' } });
    expect(html.headers['content-type']).toContain('text/html');
    expect(html.text).toContain("1 is not of type 'string'");
    const json = await call('POST', '/images', { body: { a: 1 }, headers: { accept: 'application/json' } });
    expect(json.json()).toMatchObject({ code: '400 Bad Request', title: 'Bad Request' });
  });
});

describe('image data', () => {
  const bytes = Buffer.from('0123456789');
  it('comes back as it went in, whole or in part', async () => {
    const { id } = await create();
    expect((await call('GET', `/images/${id}/file`)).status).toBe(204);
    expect((await upload(id, bytes)).status).toBe(204);
    const image = (await call('GET', `/images/${id}`)).json();
    expect(image).toMatchObject({
      status: 'active',
      size: 10,
      virtual_size: 10,
      checksum: createHash('md5').update(bytes).digest('hex'),
      os_hash_algo: 'sha512',
      os_hash_value: createHash('sha512').update(bytes).digest('hex'),
    });
    const whole = await call('GET', `/images/${id}/file`);
    expect([whole.status, whole.text, whole.headers['content-md5'], whole.headers['content-length']]).toEqual([
      ...[200, '0123456789', image.checksum, '10'],
    ]);
    const part = async (range: string) => {
      const answer = await call('GET', `/images/${id}/file`, { headers: { range } });
      return [answer.status, answer.status === 206 ? answer.text : '', answer.headers['content-range']];
    };
    expect(await part('bytes=2-4')).toEqual([206, '234', 'bytes 2-4/10']);
    expect(await part('bytes=8-')).toEqual([206, '89', 'bytes 8-9/10']);
    expect(await part('bytes=-3')).toEqual([206, '789', 'bytes 7-9/10']);
    expect(await part('bytes=5-99')).toEqual([206, '56789', 'bytes 5-9/10']);
    expect(await part('bytes=10-')).toEqual([416, '', 'bytes */10']);
    expect(await part('nonsense')).toEqual([416, '', 'bytes */10']);
    expect((await part('bytes=0-1,3-4'))[0]).toBe(400);
    const of = (etag: string) =>
      call('GET', `/images/${id}/file`, { headers: { range: 'bytes=2-4', 'if-range': etag } });
    expect((await of(String(whole.headers.etag))).text).toBe('234');
    for (const other of ['"other"', 'Mon, 02 Mar 2026 10:00:00 GMT']) expect((await of(other)).text).toBe('0123456789');
  });
  it('must be octets, have formats, and come once', async () => {
    const { id } = await create();
    expect((await call('PUT', `/images/${id}/file`, { body: {} })).status).toBe(415);
    const bare = await create({ disk_format: null });
    expect((await upload(bare.id, bytes)).status).toBe(400);
    await upload(id, bytes);
    expect((await upload(id, bytes)).status).toBe(409);
  });
  it('that is not what it says is refused, leaves nothing, and the image waits for other bytes', async () => {
    const before = await stored();
    const { id } = await create({ disk_format: 'qcow2' });
    for (const wrong of [bytes, qcow2Image({ backing: '/etc/hostname' }), qcow2Image({ features: 4n })]) {
      const answer = await upload(id, wrong);
      expect(answer.status, answer.text).toBe(415);
      expect((await call('GET', `/images/${id}`)).json()).toMatchObject({
        status: 'queued',
        size: null,
        checksum: null,
      });
      expect(await stored()).toEqual(before);
    }
    expect((await upload(id, qcow2Image())).status).toBe(204);
    expect((await call('GET', `/images/${id}`)).json().virtual_size).toBe(10 * 1024 * 1024);
    const events = await cloud.log.readStream(`image-${id}`);
    expect(events.map((e) => e.type).filter((t) => t === 'ImageUploadRefused')).toHaveLength(3);
    expect(events.find((e) => e.type === 'ImageUploadRefused')?.context.actor).toMatchObject({ userId: 'user-of-p1' });
  });
  it('beyond the limit is 413', async () => {
    const { id } = await create();
    expect((await upload(id, Buffer.alloc(2_000_001))).status).toBe(413);
    expect((await call('GET', `/images/${id}`)).json().status).toBe('queued');
  });
  it('of another length than the request says is refused', async () => {
    const { id } = await create();
    expect((await upload(id, bytes, 'p1', { 'x-openstack-image-size': '11' })).status).toBe(400);
    expect((await upload(id, bytes, 'p1', { 'x-openstack-image-size': 'x' })).status).toBe(400);
    expect((await upload(id, bytes, 'p1', { 'x-openstack-image-size': '10' })).status).toBe(204);
  });
  it('goes with the image', async () => {
    const before = await stored();
    const { id } = await create();
    await upload(id, bytes);
    expect(await stored()).toHaveLength(before.length + 1);
    expect((await call('DELETE', `/images/${id}`)).status).toBe(204);
    expect(await stored()).toEqual(before);
    expect((await call('GET', `/images/${id}`)).status).toBe(404);
    expect((await call('DELETE', `/images/${id}`)).status).toBe(404);
  });
  it('of a deactivated image is for administrators', async () => {
    const { id } = await create();
    expect((await call('POST', `/images/${id}/actions/deactivate`)).status).toBe(403);
    await upload(id, bytes);
    expect((await call('POST', `/images/${id}/actions/deactivate`)).status).toBe(204);
    expect((await call('GET', `/images/${id}/file`)).status).toBe(403);
    expect((await call('GET', `/images/${id}/file`, { as: 'admin' })).status).toBe(200);
    expect((await call('POST', `/images/${id}/actions/reactivate`)).status).toBe(204);
    expect((await call('GET', `/images/${id}/file`)).status).toBe(200);
  });
});

describe('changing an image', () => {
  it('by JSON patch of both drafts', async () => {
    const { id } = await create({ a: '1' });
    const answer = await patch(id, [
      { op: 'replace', path: '/name', value: 'new' },
      { op: 'add', path: '/b', value: '2' },
      { op: 'remove', path: '/a' },
      { op: 'replace', path: '/tags', value: ['x'] },
    ]);
    expect(answer.status, answer.text).toBe(200);
    expect(answer.json()).toMatchObject({ name: 'new', b: '2', tags: ['x'] });
    expect(answer.json()).not.toHaveProperty('a');
    const old = await call('PATCH', `/images/${id}`, {
      body: [{ replace: '/name', value: 'old' }],
      type: 'application/openstack-images-v2.0-json-patch',
    });
    expect(old.json().name).toBe('old');
  });
  it.each([
    [[{ op: 'replace', path: '/status', value: 'active' }], 403],
    [[{ op: 'replace', path: '/id', value: 'x' }], 403],
    [[{ op: 'remove', path: '/name' }], 403],
    [[{ op: 'replace', path: '/visibility', value: 'public' }], 403],
    [[{ op: 'replace', path: '/owner', value: 'p2' }], 403],
    [[{ op: 'add', path: '/locations/-', value: {} }], 403],
    [[{ op: 'add', path: '/__proto__', value: 'x' }], 403],
    [[{ op: 'replace', path: '/nope', value: 'x' }], 409],
    [[{ op: 'add', path: '/a', value: 1 }], 400],
    [[{ op: 'add', path: '/a/b', value: 'x' }], 400],
    [[{ op: 'add', path: 'a', value: 'x' }], 400],
    [[{ op: 'add', path: '/a' }], 400],
    [[{ op: 'move', path: '/a', value: 'x' }], 400],
    [[{ path: '/a', value: 'x' }], 400],
    [['x'], 400],
    [{ op: 'add' }, 400],
  ])('%j is refused with %i', async (body, status) => {
    const { id } = await create();
    const answer = await patch(id, body);
    expect(answer.status, answer.text).toBe(status);
  });
  it('of another media type is 415', async () => {
    const { id } = await create();
    const answer = await call('PATCH', `/images/${id}`, { body: [] });
    expect([answer.status, answer.text]).toEqual([415, expect.stringContaining('v2.1-json-patch')]);
    expect((await call('PATCH', `/images/${id}`, { body: Buffer.from('{'), type: PATCH })).status).toBe(400);
  });
  it('protects it from deletion', async () => {
    const { id } = await create({ protected: true });
    const refused = await call('DELETE', `/images/${id}`);
    expect([refused.status, refused.text]).toEqual([403, expect.stringContaining('protected')]);
    await patch(id, [{ op: 'replace', path: '/protected', value: false }]);
    expect((await call('DELETE', `/images/${id}`)).status).toBe(204);
  });
  it('tags it', async () => {
    const { id } = await create();
    expect((await call('PUT', `/images/${id}/tags/a%2Fb`)).status).toBe(204);
    expect((await call('GET', `/images/${id}`)).json().tags).toEqual(['a/b']);
    expect((await call('DELETE', `/images/${id}/tags/nope`)).status).toBe(404);
    expect((await call('DELETE', `/images/${id}/tags/a%2Fb`)).status).toBe(204);
    expect((await call('PUT', `/images/${id}/tags/${'x'.repeat(256)}`)).status).toBe(400);
  });
});

describe('images of others', () => {
  it('do not exist, on every route', async () => {
    const { id } = await create({ visibility: 'private' });
    const routes: [string, string, object?][] = [
      ['GET', ''],
      ['PATCH', '', { type: PATCH, body: [{ op: 'replace', path: '/name', value: 'x' }] }],
      ['DELETE', ''],
      ['GET', '/file'],
      ['PUT', '/file', { type: OCTETS, body: Buffer.from('x') }],
      ['PUT', '/tags/a'],
      ['DELETE', '/tags/a'],
      ['GET', '/members'],
      ['POST', '/members', { body: { member: 'p2' } }],
      ['GET', '/members/p2'],
      ['PUT', '/members/p2', { body: { status: 'accepted' } }],
      ['DELETE', '/members/p2'],
      ['POST', '/actions/deactivate'],
      ['POST', '/actions/reactivate'],
    ];
    for (const [method, rest, options] of routes)
      expect([method, rest, (await call(method, `/images/${id}${rest}`, { as: 'p2', ...options })).status]).toEqual([
        ...[method, rest, 404],
      ]);
    expect((await call('GET', `/images/${id}`, { as: 'admin' })).status).toBe(200);
    expect((await call('GET', '/images/not-an-id')).status).toBe(404);
    for (const method of ['GET', 'DELETE']) expect((await call(method, '/images/')).status).toBe(404);
    expect((await call('GET', '/images?limit=1&name=a/')).status).toBe(200);
    expect((await call('GET', '/images/', { as: null })).status).toBe(401);
  });
  it('that are public can be used and not changed', async () => {
    const { id } = await create({ visibility: 'public' }, 'admin');
    await upload(id, Buffer.from('x'), 'admin');
    expect((await call('GET', `/images/${id}/file`)).text).toBe('x');
    for (const answer of [
      await call('DELETE', `/images/${id}`),
      await patch(id, [{ op: 'replace', path: '/name', value: 'x' }]),
      await upload(id, Buffer.from('x')),
      await call('PUT', `/images/${id}/tags/a`),
    ])
      expect(answer.status).toBe(403);
  });
  it('can be shared, and are listed once accepted', async () => {
    const { id } = await create({ name: 'shared-one' });
    expect((await call('POST', `/images/${id}/members`, { body: { member: 'p2' } })).json()).toMatchObject({
      image_id: id,
      member_id: 'p2',
      status: 'pending',
    });
    expect((await call('POST', `/images/${id}/members`, { body: { member: 'p2' } })).status).toBe(409);
    const listed = async (query = '') =>
      (await call('GET', `/images?name=shared-one${query}`, { as: 'p2' })).json().images.length;
    expect((await call('GET', `/images/${id}`, { as: 'p2' })).status).toBe(200);
    expect([await listed(), await listed('&member_status=pending&visibility=shared')]).toEqual([0, 1]);
    expect((await call('PUT', `/images/${id}/members/p2`, { body: { status: 'accepted' } })).status).toBe(403);
    expect((await call('PUT', `/images/${id}/members/p2`, { as: 'p2', body: { status: 'maybe' } })).status).toBe(400);
    expect((await call('PUT', `/images/${id}/members/p2`, { as: 'p2', body: { status: 'accepted' } })).status).toBe(
      200,
    );
    expect(await listed()).toBe(1);
    expect((await call('GET', `/images/${id}/members`, { as: 'p2' })).json().members).toHaveLength(1);
    expect((await call('POST', `/images/${id}/members`, { as: 'p2', body: { member: 'p3' } })).status).toBe(403);
    expect((await call('DELETE', `/images/${id}/members/p2`, { as: 'p2' })).status).toBe(403);
    expect((await call('DELETE', `/images/${id}/members/p2`)).status).toBe(204);
    expect((await call('GET', `/images/${id}`, { as: 'p2' })).status).toBe(404);
  });
});

describe('the list', () => {
  beforeAll(async () => {
    for (const [name, more] of [
      ['l-a', { tags: ['t1', 't2'], kind: 'x' }],
      ['l-b', { tags: ['t1'], disk_format: 'qcow2', min_ram: 512 }],
      ['l-c', { os_hidden: true, tags: ['t1'] }],
      ['l-d', { visibility: 'private', tags: ['t1'], kind: 'y' }],
      ['l-e,f', { visibility: 'community', tags: ['t1'] }],
    ] as [string, object][])
      await create({ name, ...more });
    await create({ name: 'l-public', visibility: 'public', tags: ['t1'] }, 'admin');
    await create({ name: 'l-other', visibility: 'community', tags: ['t1'] }, 'p2');
  });
  const names = async (query: string, as = 'p1') => {
    const answer = await call('GET', `/images?sort=name:asc&tag=t1&${query}`, { as });
    expect(answer.status, answer.text).toBe(200);
    return answer.json().images.map((i: { name: string }) => i.name);
  };
  it.each([
    ['', ['l-a', 'l-b', 'l-d', 'l-e,f', 'l-public']],
    ['visibility=community', ['l-e,f', 'l-other']],
    ['visibility=private', ['l-d']],
    ['visibility=public', ['l-public']],
    ['visibility=all', ['l-a', 'l-b', 'l-d', 'l-e,f', 'l-other', 'l-public']],
    ['os_hidden=true', ['l-c']],
    ['tag=t2', ['l-a']],
    ['kind=x', ['l-a']],
    ['name=l-b', ['l-b']],
    ['name=in:l-a,"l-e,f"', ['l-a', 'l-e,f']],
    ['disk_format=qcow2', ['l-b']],
    ['status=active', []],
    ['min_ram_min=512', ['l-b']],
    ['size_min=1', []],
    ['owner=padmin', ['l-public']],
    ['created_at=gt:2020-01-01T00:00:00Z', ['l-a', 'l-b', 'l-d', 'l-e,f', 'l-public']],
    ['created_at=lt:2020-01-01', []],
    ['limit=2', ['l-a', 'l-b']],
    ['limit=0', []],
  ])('filters by %s', async (query, expected) => expect(await names(query)).toEqual(expected));
  it('shows an administrator the images of all', async () =>
    expect(await names('', 'admin')).toEqual(['l-a', 'l-b', 'l-d', 'l-public']));
  it.each([
    'limit=x',
    'limit=-1',
    'sort_key=nope',
    'sort_dir=up',
    'visibility=some',
    'member_status=some',
    'created_at=gt:yesterday',
    'created_at=like:2020-01-01',
    'name=like:x',
    'name=in:"x',
    'size_min=x',
    'os_hidden=maybe',
    'protected=maybe',
    'marker=b9a2e9b4-8a3c-4f8e-8a35-2f8c0f0c0bff',
    'changes-since=2020-01-01',
  ])('refuses %s', async (query) => expect((await call('GET', `/images?${query}`)).status).toBe(400));
  it('comes in pages whose links lead through all of it', async () => {
    const seen: string[] = [];
    let path: string | undefined = '/v2/images?limit=2&tag=t1&sort_key=name&sort_dir=desc';
    while (path) {
      const page = (await call('GET', '', { raw: `/image${path}` })).json();
      expect(page.first).toBe('/v2/images?limit=2&tag=t1&sort_key=name&sort_dir=desc');
      seen.push(...page.images.map((i: { name: string }) => i.name));
      path = page.next;
    }
    expect(seen).toEqual(['l-public', 'l-e,f', 'l-d', 'l-b', 'l-a']);
  });
});

describe('what other services ask', () => {
  it('is told of images the project may see', async () => {
    const { id } = await create({ hw_disk_bus: 'virtio' });
    await upload(id, Buffer.from('12345'));
    const ask = async (projectId: string) =>
      (await cloud.bus.request(describeImage, { imageId: id, projectId, isAdmin: false })).image;
    expect(await ask('p1')).toMatchObject({ id, size: 5, status: 'active', properties: { hw_disk_bus: 'virtio' } });
    const { id: secret } = await create({ visibility: 'private' });
    expect(
      (await cloud.bus.request(describeImage, { imageId: secret, projectId: 'p2', isAdmin: false })).image,
    ).toBeNull();
  });
  it('gets bytes by a signed URL and by nothing else', async () => {
    const { id } = await create();
    const hostId = 'b9a2e9b4-8a3c-4f8e-8a35-2f8c0f0c0b77';
    const sign = () => cloud.bus.request(signImageUrl, { imageId: id, hostId, expiresIn: 60 });
    await expect(sign()).rejects.toMatchObject({ kind: 'notFound' });
    await upload(id, Buffer.from('12345'));
    const url = new URL((await sign()).url);
    const fetched = async (raw: string) => {
      const answer = await call('GET', '', { as: null, raw });
      return [answer.status, answer.text];
    };
    expect(await fetched(url.pathname + url.search)).toEqual([200, '12345']);
    expect(await fetched(url.pathname + url.search.replace(hostId, 'x'))).toEqual([403, '']);
    expect(await fetched(url.pathname)).toEqual([403, '']);
    const other = await create();
    expect(await fetched(url.pathname.replace(id, other.id) + url.search)).toEqual([403, '']);
    await call('DELETE', `/images/${id}`);
    expect(await fetched(url.pathname + url.search)).toEqual([404, '']);
  });
});

describe('where the guest of an image starts', () => {
  it('is told with the properties that it needs', async () => {
    const { id } = await create();
    expect((await upload(id, Buffer.alloc(512))).status).toBe(204);
    const guest: GuestFacts = {
      ...{ partitions: 'gpt', firmware: ['uefi'], fileSystems: ['vfat', 'ext4'], distribution: null },
      ...{ kernel: { release: '6.1.0', boot: 'any' }, bootDrivers: ['virtio_pci', 'virtio_blk', 'virtio_net'] },
      ...{ otherDrivers: ['xen_blkfront'], agents: [], unknown: null },
    };
    const { uploadId } = (await (await cloud.core.fresh()).get(imagesTable, id))!;
    const command = { imageId: id, uploadId: uploadId!, guest, readiness: readinessOf(guest) };
    const found = { kind: 'completeInspection', ...command } as const;
    await cloud.core.commands.execute(imageAggregate, id, found, serviceContext(uploadId!, 'inspected'));
    const { readiness } = (await call('GET', `/images/${id}/os-omnivisor-readiness`)).json();
    expect(readiness.qemu).toEqual({
      verdict: 'boots',
      reason: 'Its disk starts by UEFI only: on QEMU it needs hw_firmware_type=uefi.',
      needs: [{ property: 'hw_firmware_type', values: ['uefi'], fails: ['bios', null] }],
    });
    expect(readiness.xen).toMatchObject({ verdict: 'boots after driver injection', needs: [] });
  });
});
