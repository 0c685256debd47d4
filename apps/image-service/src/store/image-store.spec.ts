import { expect, it } from 'vitest';
import { describeImageStore } from './image-store.behaviour.js';
import { MemoryImageStore } from './memory-image-store.js';

describeImageStore({ name: 'memory', open: async () => new MemoryImageStore(1024), close: async () => {} });

it('a memory store that fills up says so', async () => {
  const writer = await new MemoryImageStore(4).begin('0a1b2c3d-0000-4000-8000-000000000001');
  await writer.write(Buffer.from('1234'));
  await expect(writer.write(Buffer.from('5'))).rejects.toMatchObject({ kind: 'tooLarge' });
});
