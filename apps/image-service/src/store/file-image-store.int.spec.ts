import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { FileImageStore } from './file-image-store.js';
import { describeImageStore } from './image-store.behaviour.js';

let folder = '';
const open = async () => {
  folder = await mkdtemp(join(tmpdir(), 'image-store-'));
  return FileImageStore.open(folder);
};
const close = () => rm(folder, { recursive: true, force: true });

describeImageStore({ name: 'file', open, close });

it('only its owner can read what the file store keeps', async () => {
  const store = await open();
  const writer = await store.begin('0a1b2c3d-0000-4000-8000-000000000001');
  await writer.commit();
  const file = join(folder, 'blobs', '0a', '0a1b2c3d-0000-4000-8000-000000000001');
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  expect(await readdir(join(folder, 'incoming'))).toEqual([]);
  await close();
});

it('a key is never a path', async () => {
  const store = await open();
  await expect(store.read('../../../etc/hostname')).rejects.toThrow('malformed');
  await close();
});

it.skipIf(!existsSync('/dev/full'))('a full disk is a clear refusal', async () => {
  const { open: openFile } = await import('node:fs/promises');
  const store = await open();
  const writer = await store.begin('0a1b2c3d-0000-4000-8000-000000000001');
  const full = await openFile('/dev/full', 'w');
  await (writer as unknown as { file: { close(): Promise<void> } }).file.close();
  Object.assign(writer, { file: full });
  await expect(writer.write(Buffer.from('x'))).rejects.toMatchObject({
    kind: 'tooLarge',
    message: expect.stringContaining('Image storage media is full'),
  });
  await writer.abort();
  expect(await readdir(join(folder, 'incoming'))).toEqual([]);
  await close();
});
