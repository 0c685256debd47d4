import { buffer } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ImageStore } from './image-store.js';

/** What every image store does; run once over each adapter. */
export const describeImageStore = (adapter: {
  readonly name: string;
  readonly open: () => Promise<ImageStore>;
  readonly close: () => Promise<void>;
}): void => {
  describe(`the ${adapter.name} image store`, () => {
    const key = '0a1b2c3d-0000-4000-8000-000000000001';
    let store: ImageStore;
    beforeEach(async () => {
      store = await adapter.open();
    });
    afterEach(() => adapter.close());
    const listed = async () => {
      const all: { key: string; complete: boolean }[] = [];
      for await (const { key, complete } of store.list()) all.push({ key, complete });
      return all;
    };
    const put = async (text: string, under = key) => {
      const writer = await store.begin(under);
      await writer.write(Buffer.from(text));
      await writer.commit();
    };

    it('gives back what was written, whole or in part', async () => {
      await put('hello world');
      expect(await store.size(key)).toBe(11);
      expect((await buffer(await store.read(key))).toString()).toBe('hello world');
      expect((await buffer(await store.read(key, { start: 6, end: 8 }))).toString()).toBe('wor');
      expect(await listed()).toEqual([{ key, complete: true }]);
    });
    it('shows nothing before the commit', async () => {
      const writer = await store.begin(key);
      await writer.write(Buffer.from('half'));
      expect(await store.size(key)).toBeNull();
      await expect(store.read(key)).rejects.toMatchObject({ kind: 'notFound' });
      expect(await listed()).toEqual([{ key, complete: false }]);
      await writer.commit();
      expect(await store.size(key)).toBe(4);
    });
    it('leaves nothing behind after an abort', async () => {
      const writer = await store.begin(key);
      await writer.write(Buffer.from('half'));
      await writer.abort();
      await writer.abort();
      expect(await listed()).toEqual([]);
      await put('again');
      expect(await store.size(key)).toBe(5);
    });
    it('keeps what was committed when its writer aborts later', async () => {
      const writer = await store.begin(key);
      await writer.commit();
      await writer.abort();
      expect(await store.size(key)).toBe(0);
    });
    it('takes one writer for a key', async () => {
      const writer = await store.begin(key);
      await expect(store.begin(key)).rejects.toMatchObject({ kind: 'conflict' });
      await writer.commit();
      await expect(store.begin(key)).rejects.toMatchObject({ kind: 'conflict' });
    });
    it('removes blobs, complete or not, and what is not there', async () => {
      await put('x');
      const half = await store.begin('0a1b2c3d-0000-4000-8000-000000000002');
      await store.remove(key);
      await store.remove('0a1b2c3d-0000-4000-8000-000000000002');
      await store.remove(key);
      await half.abort();
      expect(await listed()).toEqual([]);
    });
    it('keeps what it holds for one free from others, until that is written or given up', async () => {
      const other = '0a1b2c3d-0000-4000-8000-000000000002';
      const free = await store.free();
      const half = Math.floor(free / 2);
      // What others on the machine may write or remove meanwhile.
      const slack = Math.floor(free / 8);
      const writer = await store.begin(key, half, true);
      expect(await store.free()).toBeLessThan(free - half + slack);
      await expect(store.begin(other, free - slack)).rejects.toMatchObject({ kind: 'tooLarge' });
      await expect(store.begin(other, free - slack, true)).rejects.toMatchObject({ kind: 'tooLarge' });
      await writer.write(Buffer.from('x'));
      await writer.commit();
      expect(await store.free()).toBeGreaterThan(free - half + slack);
      const again = await store.begin(other, half, true);
      await again.abort();
      expect(await store.free()).toBeGreaterThan(free - half + slack);
    });
    it('lets one for whom room is held write no more than that', async () => {
      const writer = await store.begin(key, 5, true);
      await writer.write(Buffer.from('1234'));
      await expect(writer.write(Buffer.from('56'))).rejects.toMatchObject({ name: 'StoreFull' });
      await writer.abort();
      expect(await listed()).toEqual([]);
    });
    it.each(['complete', 'not complete'])('tells when a blob that is %s was last of use', async (how) => {
      if (how === 'complete') await put('x');
      const writer = how === 'complete' ? undefined : await store.begin(key);
      const before = (await store.list()[Symbol.asyncIterator]().next()).value!.writtenAt;
      await new Promise((resolve) => setTimeout(resolve, 5));
      await store.touch(key);
      await store.touch('0a1b2c3d-0000-4000-8000-000000000009');
      const after = (await store.list()[Symbol.asyncIterator]().next()).value!.writtenAt;
      expect(after).toBeGreaterThan(before);
      await writer?.abort();
    });
    it('refuses early what can never fit', async () => {
      await expect(store.begin(key, 2 ** 52)).rejects.toMatchObject({ kind: 'tooLarge', name: 'StoreFull' });
      expect(await listed()).toEqual([]);
    });
  });
};
