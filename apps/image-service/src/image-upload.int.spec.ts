import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { FileImageStore } from './store/index.js';
import { type ImageCloud, startImageCloud } from './testing/image-cloud.js';

const MIB = 1024 * 1024;

describe('an upload over HTTP', () => {
  let folder = '';
  let cloud: ImageCloud;
  let port = 0;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'image-upload-'));
    cloud = await startImageCloud({
      store: await FileImageStore.open(folder),
      settings: { maxImageSize: 2 ** 40, idleTimeout: 1_000, maxUploads: 4 },
    });
    port = await cloud.app.listen(0, '127.0.0.1');
  });
  afterEach(async () => {
    await cloud.stop();
    await rm(folder, { recursive: true, force: true });
  });

  const headers = { 'x-auth-token': 'p1', 'content-type': 'application/json' };
  const api = async (method: string, path: string, body?: object) => {
    const answer = await fetch(`http://127.0.0.1:${port}/image/v2${path}`, {
      method,
      headers,
      ...(body ? { body: JSON.stringify(body) } : {}),
    });
    return {
      status: answer.status,
      json: answer.status === 204 ? null : ((await answer.json()) as { id: string; status: string; size: number }),
    };
  };
  const create = async (format = 'raw'): Promise<string> =>
    (await api('POST', '/images', { disk_format: format, container_format: 'bare' })).json!.id;
  const status = async (id: string) => (await api('GET', `/images/${id}`)).json!.status;
  const put = (id: string, length?: number): { sent: ClientRequest; answer: Promise<number> } => {
    const sent = request({
      ...{ host: '127.0.0.1', port, method: 'PUT', path: `/image/v2/images/${id}/file` },
      headers: {
        'x-auth-token': 'p1',
        'content-type': 'application/octet-stream',
        ...(length === undefined ? {} : { 'content-length': length }),
      },
    });
    const answer = once(sent, 'response').then(([response]) => {
      (response as IncomingMessage).resume();
      return (response as IncomingMessage).statusCode ?? 0;
    });
    answer.catch(() => {});
    return { sent, answer };
  };
  const files = async () => [
    ...(await readdir(join(folder, 'incoming'))),
    ...(await readdir(join(folder, 'blobs'), { recursive: true })).filter((f) => f.includes('/')),
  ];
  const write = async (sent: ClientRequest, bytes: Buffer) => {
    if (!sent.write(bytes)) await once(sent, 'drain');
  };

  it('is refused while another one is under way, and the image can be deleted under it', async () => {
    const id = await create();
    const first = put(id);
    await write(first.sent, Buffer.alloc(MIB));
    await vi.waitFor(async () => expect(await status(id)).toBe('saving'));
    const second = put(id);
    second.sent.end('x');
    expect(await second.answer).toBe(409);
    expect((await api('DELETE', `/images/${id}`)).status).toBe(204);
    first.sent.end();
    expect(await first.answer).toBe(410);
    expect(await files()).toEqual([]);
  });

  it.each(['breaks off', 'stands still'])('that %s leaves nothing, and the image is queued again', async (how) => {
    const id = await create();
    const { sent, answer } = put(id, 10 * MIB);
    await write(sent, Buffer.alloc(MIB));
    await vi.waitFor(async () => expect(await status(id)).toBe('saving'));
    expect(await files()).toHaveLength(1);
    if (how === 'breaks off') sent.destroy();
    await vi.waitFor(async () => expect(await status(id)).toBe('queued'), 5_000);
    await vi.waitFor(async () => expect(await files()).toEqual([]));
    if (how === 'stands still') expect(await answer).toBe(400);
    const again = put(id);
    again.sent.end('x');
    expect(await again.answer).toBe(204);
  });

  it('that is refused is heard out, so that its sender gets to know', async () => {
    const id = await create('qcow2');
    const { sent, answer } = put(id, 64 * MIB);
    const chunk = Buffer.alloc(MIB);
    for (let i = 0; i < 64; i++) await write(sent, chunk);
    sent.end();
    expect(await answer).toBe(415);
    expect(await status(id)).toBe('queued');
    expect(await files()).toEqual([]);
  });

  it('of a replica that died is ended by another, and its bytes are removed', async () => {
    const id = await create();
    const uploadId = '0b1f5c9e-2a4d-4e8f-8b1c-5d6e7f8a9b01';
    const { imageAggregate } = await import('./image/image-lifecycle.js');
    await cloud.core.commands.execute(
      imageAggregate,
      id as never,
      { kind: 'startUpload', imageId: id as never, uploadId },
      {
        actor: { kind: 'service', service: 'image-service' },
        ...{ requestId: `req-${uploadId}`, correlationId: `req-${uploadId}`, commandId: 'x' },
        causationId: null,
      } as never,
    );
    const writer = await cloud.store.begin(uploadId);
    await writer.write(Buffer.from('half'));
    const unknown = '0b1f5c9e-2a4d-4e8f-8b1c-5d6e7f8a9b02';
    await (await cloud.store.begin(unknown)).commit();
    await vi.waitFor(
      async () => {
        await cloud.sweeper.sweep();
        expect(await status(id)).toBe('queued');
      },
      { timeout: 10_000, interval: 200 },
    );
    await cloud.sweeper.sweep();
    await writer.abort();
    // What the log knows nothing of is left alone.
    expect(await files()).toEqual([expect.stringContaining(unknown)]);
  });

  const gibibytes = Number(process.env.OMNIVISOR_UPLOAD_GIB ?? '0');
  it.skipIf(gibibytes === 0)(
    'of many gibibytes keeps the process small',
    async () => {
      const id = await create();
      global.gc?.();
      const before = process.memoryUsage().rss;
      let peak = 0;
      const timer = setInterval(() => {
        peak = Math.max(peak, process.memoryUsage().rss);
      }, 20);
      const started = performance.now();
      const { sent, answer } = put(id, gibibytes * 1024 * MIB);
      const chunk = Buffer.alloc(MIB);
      for (let i = 0; i < gibibytes * 1024; i++) await write(sent, chunk);
      sent.end();
      expect(await answer).toBe(204);
      clearInterval(timer);
      const seconds = (performance.now() - started) / 1_000;
      console.info(
        `${gibibytes} GiB in ${seconds.toFixed(1)} s; RSS ${Math.round(before / MIB)} -> ${Math.round(peak / MIB)} MiB, the client included`,
      );
      expect(peak).toBeLessThan(300 * MIB);
      await pause(0);
      expect((await api('GET', `/images/${id}`)).json!.size).toBe(gibibytes * 1024 * MIB);
    },
    600_000,
  );
});
