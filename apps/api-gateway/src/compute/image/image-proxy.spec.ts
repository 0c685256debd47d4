import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ComputeApp, computeApp, IMAGE } from '../compute-app.fixtures.js';

let app: ComputeApp;
beforeAll(async () => {
  app = await computeApp();
});
afterAll(() => app?.close());

const at = async (method: string, path: string, options: Parameters<ComputeApp['call']>[2] = {}) => {
  const { status, body } = await app.call(method, `/v2.1/images${path}`, options);
  return { status, body: body as Record<string, Record<string, unknown>> };
};
const link = (rel: string, href: string, more = {}) => ({ rel, href: `http://cloud.example/${href}`, ...more });
const links = [
  link('self', `compute/v2.1/images/${IMAGE}`),
  link('bookmark', `compute/images/${IMAGE}`),
  link('alternate', `image/images/${IMAGE}`, { type: 'application/vnd.openstack.image' }),
];

describe('images in Compute', () => {
  it('look as Image has them', async () => {
    expect((await at('GET', '')).body.images).toEqual([{ id: IMAGE, name: 'tiny', links }]);
    expect((await at('GET', `/${IMAGE}`)).body.image).toEqual({
      id: IMAGE,
      name: 'tiny',
      links,
      minRam: 0,
      minDisk: 1,
      metadata: { os_type: 'linux' },
      created: '2026-01-31T12:00:00Z',
      updated: '2026-01-31T12:00:01Z',
      status: 'ACTIVE',
      progress: 100,
      'OS-EXT-IMG-SIZE:size': 20_000_000,
    });
    expect((await at('GET', '/detail?limit=1')).body).toMatchObject({
      images: [{ id: IMAGE, status: 'ACTIVE' }],
      images_links: [link('next', `compute/v2.1/images/detail?limit=1&marker=${IMAGE}`)],
    });
  });

  it('are gone from 2.36 on, their metadata from 2.39 on', async () => {
    expect((await at('GET', '', { version: '2.35' })).status).toBe(200);
    expect((await at('GET', '', { version: '2.36' })).status).toBe(404);
    expect((await at('GET', `/${IMAGE}/metadata`, { version: '2.38' })).status).toBe(200);
    expect((await at('GET', `/${IMAGE}/metadata`, { version: '2.39' })).status).toBe(404);
  });

  it('have metadata that is added to, replaced and removed', async () => {
    const metadata = `/${IMAGE}/metadata`;
    const added = await at('POST', metadata, { body: { metadata: { a: '1', 'b.c': '2' } } });
    expect(added.body).toMatchObject({ metadata: { os_type: 'linux', a: '1' } });
    expect((await at('PUT', `${metadata}/a`, { body: { meta: { a: '3' } } })).body).toEqual({ meta: { a: '3' } });
    expect((await at('PUT', `${metadata}/a`, { body: { meta: { b: '3' } } })).status).toBe(400);
    expect((await at('GET', `${metadata}/a`)).body).toEqual({ meta: { a: '3' } });
    expect((await at('DELETE', `${metadata}/a`)).status).toBe(204);
    expect((await at('DELETE', `${metadata}/a`)).status).toBe(404);
    expect((await at('PUT', metadata, { body: { metadata: { z: '9' } } })).body).toEqual({ metadata: { z: '9' } });
    expect((await at('GET', metadata)).body).toEqual({ metadata: { z: '9' } });
    const many = Object.fromEntries(Array.from({ length: 129 }, (_, i) => [`k${i}`, 'v']));
    expect((await at('PUT', metadata, { body: { metadata: many } })).status).toBe(403);
  });

  it('are refused in the words of Compute', async () => {
    const nobodys = '11111111-1111-4111-8111-111111111111';
    for (const id of [nobodys, 'x'])
      expect(await at('GET', `/${id}`), id).toMatchObject({
        status: 404,
        body: { itemNotFound: { message: 'Image not found.' } },
      });
    expect((await at('GET', `/${IMAGE}`, { as: 'other' })).status).toBe(404);
    expect(await at('DELETE', `/${IMAGE}`)).toMatchObject({
      status: 403,
      body: { forbidden: { message: 'You are not allowed to delete the image.' } },
    });
  });
});
