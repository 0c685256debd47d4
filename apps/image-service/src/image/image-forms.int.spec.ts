import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describeImage, type HostId, type ImageId, inspectImage, signImageUrl } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { labelledImage } from '../formats/vectors.js';
import { Sandbox } from '../sandbox/sandbox.js';
import { FileImageStore } from '../store/index.js';
import { type ImageCloud, startImageCloud } from '../testing/image-cloud.js';

const hasTool = spawnSync('qemu-img', ['--version']).status === 0;
const hostId = '5d3f5c9e-2a4d-4e8f-8b1c-5d6e7f8a9b05' as HostId;

describe.skipIf(!hasTool)('an image in other formats', () => {
  let folder = '';
  let cloud: ImageCloud;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'image-forms-api-'));
    cloud = await startImageCloud({
      store: await FileImageStore.open(folder),
      sandbox: Sandbox.detect(),
      settings: { patience: 0 },
    });
  });
  afterAll(async () => {
    await cloud?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  const get = async (url: string, as: string | null = 'p1', headers: Record<string, string> = {}, method = 'GET') =>
    cloud.app.fastify.inject({
      ...{ method: method as 'GET', url },
      headers: { ...(as === null ? {} : { 'x-auth-token': as }), ...headers },
    });
  const image = async (bytes = labelledImage(), disk_format = 'raw') => {
    const headers = { 'x-auth-token': 'p1' };
    const created = await cloud.app.fastify.inject({
      ...{ method: 'POST', url: '/image/v2/images', headers: { ...headers, 'content-type': 'application/json' } },
      payload: JSON.stringify({ disk_format, container_format: 'bare' }),
    });
    const { id } = created.json();
    await cloud.app.fastify.inject({
      ...{ method: 'PUT', url: `/image/v2/images/${id}/file`, payload: bytes },
      headers: { ...headers, 'content-type': 'application/octet-stream' },
    });
    return id as ImageId;
  };
  const path = (id: string, rest = '') => `/image/v2/images/${id}/os-omnivisor-export${rest}`;
  const ready = async (url: string, as: string | null = 'p1') => {
    const first = await get(url, as);
    expect([first.statusCode, Number(first.headers['retry-after']) > 0]).toEqual([503, true]);
    return vi.waitFor(
      async () => {
        const answer = await get(url, as);
        expect(answer.statusCode).toBe(200);
        return answer;
      },
      { timeout: 10_000, interval: 50 },
    );
  };

  it('is exported in the format that is asked for, once it is made', async () => {
    const id = await image();
    const answer = await ready(path(id, '/vhdx'));
    expect(answer.rawPayload.subarray(0, 8).toString()).toBe('vhdxfile');
    const sha256 = createHash('sha256').update(answer.rawPayload).digest('hex');
    expect(answer.headers).toMatchObject({
      etag: `"sha256:${sha256}"`,
      'content-disposition': `attachment; filename="${id}.vhdx"`,
    });
    const part = await get(path(id, '/vhdx'), 'p1', { range: 'bytes=4-7' });
    expect([part.statusCode, part.body, part.headers['content-range']]).toEqual([
      ...[206, 'file', `bytes 4-7/${answer.rawPayload.length}`],
    ]);
    const since = (etag: string) => get(path(id, '/vhdx'), 'p1', { range: 'bytes=4-7', 'if-range': etag });
    expect((await since(`"sha256:${sha256}"`)).statusCode).toBe(206);
    const whole = await since(`"sha256:${'0'.repeat(64)}"`);
    expect([whole.statusCode, whole.rawPayload.length]).toEqual([200, answer.rawPayload.length]);
    expect((await get(path(id, '/vhdx'), 'p1', { range: 'bytes=99999999-' })).statusCode).toBe(416);
    const { formats } = (await get(path(id))).json();
    expect(formats.find((f: { format: string }) => f.format === 'vhdx')).toMatchObject({ state: 'ready', sha256 });
    expect(formats.find((f: { format: string }) => f.format === 'raw').state).toBe('original');
    expect(formats.find((f: { format: string }) => f.format === 'ova').state).toBe('possible');
  });
  it('is for those who may download it', async () => {
    const id = await image();
    expect((await get(path(id, '/vhd-fixed'), 'p2')).statusCode).toBe(404);
    expect((await get(path(id), 'p2')).statusCode).toBe(404);
    expect((await get(path(id, '/vhd-fixed'), 'reader')).statusCode).toBe(403);
    expect((await get(path(id, '/vhd-fixed'), null)).statusCode).toBe(401);
    await cloud.app.fastify.inject({
      ...{ method: 'POST', url: `/image/v2/images/${id}/actions/deactivate`, headers: { 'x-auth-token': 'p1' } },
    });
    expect((await get(path(id, '/raw'))).statusCode).toBe(403);
  });
  it('is refused in a format that there is not, or that it cannot have', async () => {
    const id = await image();
    expect((await get(path(id, '/exe'))).statusCode).toBe(404);
    expect((await get(path(id, '/ploop'))).statusCode).toBe(501);
    const kernel = await image(labelledImage(), 'raw');
    await get(path(kernel, '/aki'));
    await vi.waitFor(async () => {
      const answer = await get(path(kernel, '/aki'));
      expect([answer.statusCode, answer.body]).toEqual([
        409,
        expect.stringContaining('could not be converted to aki: it has no kernel that was found.'),
      ]);
    });
  });
  it('is given to a host by a URL that names one of its formats', async () => {
    const id = await image();
    const sign = (...formats: ('vhdx' | 'raw' | 'ploop' | 'vhd-fixed')[]) =>
      cloud.bus.request(signImageUrl, { imageId: id, hostId, expiresIn: 60, formats: formats as ['raw'] });
    expect((await sign('ploop', 'vhdx', 'raw')).format).toBe('raw');
    expect((await sign('ploop', 'vhd-fixed')).format).toBe('vhd-fixed');
    await expect(sign('ploop')).rejects.toMatchObject({ kind: 'unsupported' });
    const { url } = await sign('vhdx');
    const local = url.replace('http://image.internal', '');
    await vi.waitFor(
      async () => {
        const head = await get(local, null, {}, 'HEAD');
        expect([head.statusCode, head.headers['x-image-format'], head.headers['x-image-derived']]).toEqual([
          ...[200, 'vhdx', 'true'],
        ]);
        expect(head.headers.etag).toMatch(/^"sha256:[0-9a-f]{64}"$/);
        const other = await get(local, null, { range: 'bytes=0-3', 'if-range': '"sha256:0"' }, 'HEAD');
        expect([other.statusCode, other.headers['content-length']]).toEqual([200, head.headers['content-length']]);
        const { rawPayload } = await get(local, null);
        expect(rawPayload.length).toBe(Number(head.headers['content-length']));
      },
      { timeout: 10_000, interval: 50 },
    );
    expect((await get(local.replace('vhdx', 'vdi'), null)).statusCode).toBe(403);
  });
  it('says where its guest starts, and what it does not know', async () => {
    const id = await image();
    await cloud.guests!.idle();
    const { inspected, readiness, guest } = (await get(`/image/v2/images/${id}/os-omnivisor-readiness`)).json();
    expect([inspected, readiness, guest.partitions, guest.unknown]).toEqual([
      ...[true, {}, 'mbr', 'it has no kernel that was found'],
    ]);
    expect((await get(`/image/v2/images/${id}/os-omnivisor-readiness`, 'p2')).statusCode).toBe(404);
    const { image: described } = await cloud.bus.request(describeImage, {
      imageId: id,
      projectId: 'p1',
      isAdmin: false,
    });
    expect(described?.readiness).toBeUndefined();
    expect((await cloud.log.readStream(`image-${id}`)).map((e) => e.type)).toContain('ImageInspected');
  });
  it('is looked at for a server that waits for that', async () => {
    const imageId = await image();
    const { readiness } = await cloud.bus.request(inspectImage, { imageId });
    expect(readiness).toEqual({});
    const { image: described } = await cloud.bus.request(describeImage, { imageId, projectId: 'p1', isAdmin: false });
    expect(described).toMatchObject({ id: imageId, virtualSize: labelledImage().length });
    expect(described).not.toHaveProperty('uninspected');
  });
  it('goes with all its formats', async () => {
    const id = await image();
    await ready(path(id, '/vdi'));
    const keys = async () => {
      const all: string[] = [];
      for await (const { key } of cloud.store.list()) all.push(key);
      return all.length;
    };
    const before = await keys();
    await cloud.app.fastify.inject({
      method: 'DELETE',
      url: `/image/v2/images/${id}`,
      headers: { 'x-auth-token': 'p1' },
    });
    await cloud.sweeper.sweep();
    expect(await keys()).toBe(before - 2);
  });
});
