import { createHash } from 'node:crypto';
import { link, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ImageSnapshot } from '@omnivisor/contracts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FileImageCache } from './image-cache.js';

const bytes = Buffer.from('the bytes of an image');
const image = {
  id: 'b9a2e9b4-8a3c-4f8e-8a35-2f8c0f0c0b01',
  diskFormat: 'qcow2',
  size: bytes.length,
  sha512: createHash('sha512').update(bytes).digest('hex'),
} as ImageSnapshot;

describe('image bytes on a host', () => {
  let folder: string;
  let server: Server;
  let requests = 0;
  let body = bytes;
  let answer: (response: ServerResponse) => boolean;
  const url = () => `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  const never = new AbortController().signal;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'image-cache-'));
    requests = 0;
    body = bytes;
    answer = () => false;
    server = createServer((_, response) => {
      requests++;
      if (answer(response)) return;
      response.end(body);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  });
  afterEach(async () => {
    await new Promise((resolve) => server.close(resolve));
    await rm(folder, { recursive: true });
  });

  it('are fetched once for everybody who waits', async () => {
    const cache = new FileImageCache(folder);
    const paths = await Promise.all([1, 2, 3].map(() => cache.path(image, url(), never)));
    expect(new Set(paths).size).toBe(1);
    expect(await readFile(paths[0]!)).toEqual(bytes);
    await cache.path(image, url(), never);
    expect(requests).toBe(1);
  });

  it.each([
    ['other bytes', Buffer.from('the bytes of an imagE')],
    ['too many bytes', Buffer.concat([bytes, bytes])],
    ['too few bytes', bytes.subarray(1)],
  ])('OSSA-2024-004 OSSN-0090 %s are refused, and nothing is left', async (_, wrong) => {
    body = wrong;
    await expect(new FileImageCache(folder).path(image, url(), never)).rejects.toMatchObject({ kind: 'unavailable' });
    expect(await readdir(folder)).toEqual([]);
  });

  it('of one server that moves here are kept apart, and go when it is here', async () => {
    const cache = new FileImageCache(folder);
    await cache.forget(image);
    const shared = await cache.path(image, url(), never);
    const disk = { ...image, id: 'b9a2e9b4-8a3c-4f8e-8a35-2f8c0f0c0b02' } as ImageSnapshot;
    const other = { ...image, id: 'b9a2e9b4-8a3c-4f8e-8a35-2f8c0f0c0b03' } as ImageSnapshot;
    const paths = await Promise.all([disk, other].map((each) => cache.path(each, url(), never, true)));
    expect(new Set([shared, ...paths]).size).toBe(3);
    expect(await cache.path(disk, url(), never, true)).toBe(paths[0]);
    expect(requests).toBe(3);
    await cache.forget(disk);
    await cache.forget(image);
    expect((await readdir(folder)).map((name) => join(folder, name)).sort()).toEqual([shared, paths[1]].sort());
  });

  it('go a day after the last guest was made of them, unless one still needs them', async () => {
    const cache = new FileImageCache(folder);
    const old = new Date(Date.now() - 25 * 3_600_000);
    const files = ['needed', 'unneeded', 'recent', 'cut-off.7.part'].map((name) => join(folder, name));
    for (const file of files) await writeFile(file, 'x');
    await link(files[0]!, join(folder, '..', `${folder.split('/').pop()}-guest`));
    for (const file of files.slice(0, 2)) await utimes(file, old, old);
    const path = await cache.path(image, url(), never);
    expect((await readdir(folder)).map((name) => join(folder, name)).sort()).toEqual([files[0], files[2], path].sort());
    await rm(join(folder, '..', `${folder.split('/').pop()}-guest`));
    // What is asked for again is in use.
    await utimes(path, old, old);
    await cache.path(image, url(), never);
    await cache.path({ ...image, diskFormat: 'raw' }, url(), never);
    expect(await readdir(folder)).toContain(path.split('/').pop());
  });

  it('are not waited for by who gives up, and still come for the others', async () => {
    const cache = new FileImageCache(folder);
    const abort = new AbortController();
    const [given, kept] = [cache.path(image, url(), abort.signal), cache.path(image, url(), never)];
    abort.abort(new Error('given up'));
    await expect(given).rejects.toThrow('given up');
    expect(await readFile(await kept)).toEqual(bytes);
  });

  it('of a service that is away are unavailable, and come later', async () => {
    const cache = new FileImageCache(folder);
    await expect(cache.path(image, 'http://127.0.0.1:1/', never)).rejects.toMatchObject({ kind: 'unavailable' });
    expect(await cache.path(image, url(), never)).toContain(image.sha512);
  });

  describe('in another form', () => {
    const derived =
      (bytes: Buffer, sent = bytes) =>
      (response: ServerResponse) => {
        response.setHeader('x-image-derived', 'true');
        response.setHeader('etag', `"sha256:${createHash('sha256').update(bytes).digest('hex')}"`);
        response.setHeader('content-length', sent.length);
        response.end(sent);
        return true;
      };
    const vhdx = Buffer.from('the same disk as VHDX');

    it('are waited for while they are made, and kept beside the own form', async () => {
      answer = (response) => {
        if (requests > 2) return derived(vhdx)(response);
        response.writeHead(503, { 'retry-after': '0' }).end();
        return true;
      };
      const cache = new FileImageCache(folder);
      const got = await cache.get(image, `${url()}?format=vhdx`, never);
      expect([got.format, await readFile(got.path)]).toEqual(['vhdx', vhdx]);
      expect(requests).toBe(4);
      expect(await readFile((await cache.get(image, `${url()}?format=vhdx`, never)).path)).toEqual(vhdx);
      expect(requests).toBe(5);
      answer = () => false;
      expect(await readFile(await cache.path(image, `${url()}?format=qcow2`, never))).toEqual(bytes);
      expect(requests).toBe(6);
    });

    it('are not asked for any more when nobody waits', async () => {
      const waits = new AbortController();
      answer = (response) => {
        response.writeHead(503, { 'retry-after': '0' }).end();
        return true;
      };
      const given = new FileImageCache(folder).get(image, `${url()}?format=vhdx`, waits.signal);
      await expect.poll(() => requests).toBeGreaterThan(3);
      waits.abort(new Error('given up'));
      await expect(given).rejects.toThrow('given up');
      const before = requests;
      for (let i = 0; i < 20; i++) await fetch(url());
      // One may have been on its way.
      expect(requests - before).toBeLessThanOrEqual(21);
    });

    it('are those that the service has now: each time they are made they are others', async () => {
      const cache = new FileImageCache(folder);
      const bytesNow = async (of: ImageSnapshot) => readFile(await cache.path(of, `${url()}?format=vhdx`, never));
      for (const made of [vhdx, Buffer.from('the same disk as another VHDX')]) {
        answer = derived(made);
        expect(await bytesNow(image)).toEqual(made);
        // As of another image with the same bytes.
        expect(await bytesNow({ ...image, id: 'b9a2e9b4-8a3c-4f8e-8a35-2f8c0f0c0b02' as ImageSnapshot['id'] })).toEqual(
          made,
        );
      }
      expect(await readdir(folder)).toHaveLength(2);
    });
    it('that are made anew just then are had another time', async () => {
      answer = (response) => derived(requests === 1 ? vhdx : Buffer.from('the same disk as another VHDX'))(response);
      await expect(new FileImageCache(folder).path(image, `${url()}?format=vhdx`, never)).rejects.toMatchObject({
        kind: 'unavailable',
      });
      expect(await readdir(folder)).toEqual([]);
    });
    it('OSSA-2024-004 must fit the hash that comes with them', async () => {
      answer = derived(vhdx, Buffer.from('the same disk as vhdx'));
      await expect(new FileImageCache(folder).get(image, `${url()}?format=vhdx`, never)).rejects.toMatchObject({
        kind: 'unavailable',
      });
      expect(await readdir(folder)).toEqual([]);
    });
    it('that cannot be had are unavailable at once', async () => {
      answer = (response) => {
        response.writeHead(501).end();
        return true;
      };
      await expect(new FileImageCache(folder).get(image, `${url()}?format=vhdx`, never)).rejects.toMatchObject({
        kind: 'unavailable',
      });
      expect(requests).toBe(1);
    });
  });
});
