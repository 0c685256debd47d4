import { createHash, randomUUID } from 'node:crypto';
import {
  abortSnapshotImage,
  beginSnapshotImage,
  type CommandContext,
  completeSnapshotImage,
  createDiskTransfer,
  deleteDiskTransfer,
  type HostId,
  type ImageId,
  signImageUrl,
} from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { qcow2Image } from '../formats/vectors.js';
import { type ImageCloud, startImageCloud } from '../testing/image-cloud.js';

let cloud: ImageCloud;
beforeAll(async () => {
  cloud = await startImageCloud();
});
afterAll(() => cloud.stop());

const hostId = randomUUID() as HostId;
const context = (): CommandContext => ({
  actor: { kind: 'service', service: 'api-gateway' },
  requestId: `req-${randomUUID()}` as CommandContext['requestId'],
  correlationId: `req-${randomUUID()}` as CommandContext['correlationId'],
  causationId: null,
  commandId: randomUUID() as CommandContext['commandId'],
});
const upload = { hostId, format: 'qcow2', maxBytes: 1_000_000, expiresIn: 600 } as const;
const begin = (imageId: string, more: object = {}, at = cloud) =>
  at.bus.request(beginSnapshotImage, {
    ...{ context: context(), imageId, name: 'snap', owner: 'p1', minDisk: 1, minRam: 0 },
    ...{ properties: { image_type: 'snapshot' }, ...upload, ...more },
  });
const send = (url: string, payload: Buffer, method = 'PUT', at = cloud) =>
  at.app.fastify.inject({
    ...{ method: method as 'PUT', url: url.replace('http://image.internal', ''), payload },
    headers: { 'content-type': 'application/octet-stream' },
  });
const show = async (id: string, as = 'p1') =>
  cloud.app.fastify.inject({ method: 'GET', url: `/image/v2/images/${id}`, headers: { 'x-auth-token': as } });

describe('a snapshot that a host sends', () => {
  it('is an image of the project once its bytes are there', async () => {
    const id = randomUUID();
    const { url } = await begin(id);
    expect((await show(id)).json()).toMatchObject({ status: 'queued', name: 'snap', image_type: 'snapshot' });
    expect((await show(id, 'p2')).statusCode).toBe(404);
    await expect(cloud.bus.request(completeSnapshotImage, { imageId: id })).rejects.toMatchObject({ kind: 'conflict' });
    const bytes = qcow2Image();
    expect((await send(url, bytes)).statusCode).toBe(204);
    const done = await cloud.bus.request(completeSnapshotImage, { imageId: id });
    expect(done).toEqual({
      ...{ size: bytes.length, virtualSize: 10 * 1024 * 1024 },
      sha512: createHash('sha512').update(bytes).digest('hex'),
    });
    expect((await show(id)).json()).toMatchObject({
      status: 'active',
      owner: 'p1',
      visibility: 'private',
      min_disk: 1,
    });
    const started = (await cloud.log.readStream(`image-${id}`)).find((e) => e.type === 'ImageUploadStarted');
    expect(started?.context.actor).toEqual({ kind: 'service', service: `host-${hostId}` });
  });
  it('may be begun again until its bytes are there, and then no more', async () => {
    const id = randomUUID();
    await begin(id);
    const { url } = await begin(id);
    await expect(begin(id, { owner: 'p2' })).rejects.toMatchObject({ kind: 'conflict' });
    expect((await send(url, qcow2Image())).statusCode).toBe(204);
    expect((await send(url, qcow2Image())).statusCode).toBe(409);
    await expect(begin(id)).rejects.toMatchObject({ kind: 'conflict' });
  });
  it('is looked at like any upload', async () => {
    const id = randomUUID();
    const { url } = await begin(id);
    expect((await send(url, qcow2Image({ backing: '/etc/passwd' }))).statusCode).toBe(415);
    expect((await send(url, Buffer.alloc(4096))).statusCode).toBe(415);
    expect((await show(id)).json().status).toBe('queued');
  });
  it('keeps to its size, its URL and its time', async () => {
    const id = randomUUID();
    const { url } = await begin(id, { maxBytes: 1000 });
    expect((await send(url, qcow2Image())).statusCode).toBe(413);
    expect((await send(url.replace('max=1000', 'max=9999999'), qcow2Image())).statusCode).toBe(403);
    expect((await send(url.replace(id, randomUUID()), qcow2Image())).statusCode).toBe(403);
    expect((await send(url, Buffer.alloc(0), 'GET')).statusCode).toBe(403);
    const gone = await begin(id, { expiresIn: 1 });
    const expires = Number(new URL(gone.url).searchParams.get('expires'));
    expect(expires * 1000 - Date.now()).toBeLessThan(2000);
  });
  it('may be sent again after a while when too many arrive', async () => {
    const full = await startImageCloud({ settings: { maxUploads: 0 } });
    try {
      const { url } = await begin(randomUUID(), {}, full);
      const answer = await send(url, qcow2Image(), 'PUT', full);
      expect([answer.statusCode, answer.headers['retry-after']]).toEqual([503, '2']);
    } finally {
      await full.stop();
    }
  });
  it('goes when it is given up, also while bytes arrive, and not once they are there', async () => {
    const id = randomUUID();
    const { url } = await begin(id);
    const abort = () => cloud.bus.request(abortSnapshotImage, { context: context(), imageId: id });
    expect(await abort()).toEqual({ removed: true });
    expect(await abort()).toEqual({ removed: false });
    expect((await send(url, qcow2Image())).statusCode).toBe(404);
    const kept = randomUUID();
    await send((await begin(kept)).url, qcow2Image());
    expect(await cloud.bus.request(abortSnapshotImage, { context: context(), imageId: kept })).toEqual({
      removed: false,
    });
    expect((await show(kept)).statusCode).toBe(200);
  });
});

describe('a disk on its way between hosts', () => {
  const create = (transferId: string, keepFor = 3600) =>
    cloud.bus.request(createDiskTransfer, { context: context(), transferId, keepFor, ...upload });
  const stored = async () => {
    const keys: string[] = [];
    for await (const { key } of cloud.store.list()) keys.push(key);
    return keys.length;
  };

  it('reaches the other host, is no image to anybody, and goes afterwards', async () => {
    const before = await stored();
    const id = randomUUID() as ImageId;
    const { url } = await create(id);
    await expect(cloud.bus.request(signImageUrl, { imageId: id, hostId, expiresIn: 60 })).rejects.toMatchObject({
      kind: 'notFound',
    });
    const bytes = qcow2Image();
    expect((await send(url, bytes)).statusCode).toBe(204);
    for (const as of ['p1', 'admin']) {
      expect((await show(id, as)).statusCode).toBe(404);
      const list = await cloud.app.fastify.inject({
        ...{ method: 'GET', url: '/image/v2/images?limit=1000&visibility=all', headers: { 'x-auth-token': as } },
      });
      expect(list.json().images.map((i: { id: string }) => i.id)).not.toContain(id);
    }
    const other = randomUUID() as HostId;
    const read = await cloud.bus.request(signImageUrl, {
      imageId: id,
      hostId: other,
      expiresIn: 60,
      formats: ['qcow2'],
    });
    expect(read.format).toBe('qcow2');
    const got = await send(read.url, Buffer.alloc(0), 'GET');
    expect(got.rawPayload.equals(bytes)).toBe(true);
    expect(got.headers.etag).toBe(`"sha256:${createHash('sha256').update(bytes).digest('hex')}"`);
    const head = await send(read.url, Buffer.alloc(0), 'HEAD');
    expect([head.statusCode, head.headers['content-length'], head.headers['x-image-format']]).toEqual([
      ...[200, String(bytes.length), 'qcow2'],
    ]);
    const part = await cloud.app.fastify.inject({
      ...{ method: 'GET', url: read.url.replace('http://image.internal', ''), headers: { range: 'bytes=4-7' } },
    });
    expect([part.statusCode, part.rawPayload]).toEqual([206, bytes.subarray(4, 8)]);
    await cloud.bus.request(deleteDiskTransfer, { context: context(), transferId: id });
    await cloud.bus.request(deleteDiskTransfer, { context: context(), transferId: id });
    expect((await send(read.url, Buffer.alloc(0), 'GET')).statusCode).toBe(404);
    expect(await stored()).toBe(before);
  });
  it('goes by itself when its time is up', async () => {
    const id = randomUUID();
    const { url } = await create(id, 1);
    await send(url, qcow2Image());
    await vi.waitFor(
      async () => {
        await cloud.sweeper.sweep();
        expect((await cloud.log.readStream(`image-${id}`)).at(-1)?.type).toBe('ImageDeleted');
      },
      { timeout: 5_000, interval: 100 },
    );
  });
  it('is not deleted as a snapshot, nor an image as a transfer', async () => {
    const id = randomUUID();
    await create(id);
    await expect(cloud.bus.request(abortSnapshotImage, { context: context(), imageId: id })).rejects.toMatchObject({
      kind: 'conflict',
    });
    const image = randomUUID();
    await begin(image);
    await expect(
      cloud.bus.request(deleteDiskTransfer, { context: context(), transferId: image }),
    ).rejects.toMatchObject({ kind: 'conflict' });
  });
  it('is had in no form that cannot be made of it', async () => {
    const id = randomUUID() as ImageId;
    await send((await create(id)).url, qcow2Image());
    await expect(
      cloud.bus.request(signImageUrl, { imageId: id, hostId, expiresIn: 60, formats: ['vhdx'] }),
    ).rejects.toMatchObject({ kind: 'unsupported' });
  });
});
