import { PassThrough, Readable } from 'node:stream';
import { type ImageId, type Milliseconds, ms, seconds } from '@omnivisor/contracts';
import { VirtualClock } from '@omnivisor/platform/testing';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ImageContext } from '../core.js';
import { serviceContext } from '../service-context.js';
import { MemoryImageStore } from '../store/index.js';
import { type ImageCloud, settings, startImageCloud } from '../testing/image-cloud.js';
import { type ImageRow, imagesTable } from './image.projection.js';
import { imageAggregate } from './image-lifecycle.js';
import { ImageUploads } from './image-uploads.js';

describe('bytes that are taken in', () => {
  let clock: VirtualClock;
  let cloud: ImageCloud;
  let uploads: ImageUploads;
  beforeEach(async () => {
    clock = new VirtualClock();
    const store = new MemoryImageStore(Number.POSITIVE_INFINITY, () => Date.parse(clock.now()));
    cloud = await startImageCloud({ clock, store });
    uploads = new ImageUploads(new ImageContext(cloud.core, cloud.store, { ...settings(), maxUploads: 4 }));
  });
  afterEach(() => cloud.stop());

  let images = 0;
  const image = async (owner: string | null): Promise<ImageRow> => {
    const id = `7e3c5d0a-6c39-4c68-9a0e-${String(++images).padStart(12, '0')}` as ImageId;
    const attributes = {
      ...{ name: 'i', owner, diskFormat: 'raw', containerFormat: 'bare', minDisk: 0, minRam: 0, tags: [] },
      ...({ visibility: 'private', protected: false, hidden: false } as const),
    };
    const create = { kind: 'create', imageId: id, attributes, properties: {} } as const;
    await cloud.core.commands.execute(imageAggregate, id, create, serviceContext(id, 'create'));
    return (await (await cloud.core.fresh()).get(imagesTable, id))!;
  };
  const receive = async (owner: string | null, body: Readable) => {
    const row = await image(owner);
    return uploads.receive(row, body, undefined, (name) => serviceContext(row.id, name));
  };
  const bytes = () => Readable.from([Buffer.alloc(1_024)]);
  /** Ends what stands still. */
  const end = async (bodies: readonly PassThrough[], works: readonly Promise<void>[]) => {
    for (const body of bodies) body.end();
    return Promise.allSettled(works);
  };

  it('of one project leave others their turns', async () => {
    const bodies = [1, 2].map(() => new PassThrough());
    const slow = bodies.map((body) => receive('p1', body));
    await clock.advance(ms(0));
    await expect(receive('p1', bytes())).rejects.toMatchObject({ kind: 'unavailable' });
    await receive('p2', bytes());
    await end(bodies, slow);
    await receive('p1', bytes());
  });
  it('of one project leave others their turns when they are imported, and do not count while they wait', async () => {
    const bodies: PassThrough[] = [];
    const open = async () => {
      bodies.push(new PassThrough());
      return bodies.at(-1)!;
    };
    const imports = await Promise.all(
      Array.from({ length: 6 }, async (_, n) => {
        const row = await image('p1');
        const uploadId = `0b1f5c9e-2a4d-4e8f-8b1c-5d6e7f8a9b0${n}`;
        return { work: uploads.import(row, uploadId, open, (name) => serviceContext(row.id, name)), uploadId };
      }),
    );
    await vi.waitFor(() => expect(bodies).toHaveLength(2));
    expect(imports.every(({ uploadId }) => uploads.isActive(uploadId))).toBe(true);
    await receive('p2', bytes());
    expect(bodies).toHaveLength(2);
    const all = imports.map(({ work }) => work.catch(() => {}));
    for (let ended = 0; ended < 6; ended++) {
      await vi.waitFor(() => expect(bodies.length).toBeGreaterThan(ended));
      bodies[ended]!.end();
    }
    await Promise.all(all);
  });
  it.each(['web-download', 'glance-direct'] as const)(
    'wait for their turn by %s longer than other replicas wait for dead ones',
    async (method) => {
      const bodies = [1, 2].map(() => new PassThrough());
      const slow = bodies.map((body) => receive('p1', body));
      const row = await image('p1');
      const uploadId = '0b1f5c9e-2a4d-4e8f-8b1c-5d6e7f8a9b01';
      const step = (name: string) => serviceContext(row.id, name);
      if (method === 'glance-direct')
        await uploads.stage({ ...row, owner: 'p2' }, bytes(), undefined, (name) => step(`stage-${name}`));
      const start = {
        kind: 'startImport',
        imageId: row.id,
        taskId: uploadId,
        method,
        uploadId,
        source: null,
        owner: 'p1',
      } as const;
      const { state } = await cloud.core.commands.execute(imageAggregate, row.id, start, step('import'));
      const open = method === 'web-download' ? async () => bytes() : null;
      const done = uploads.import(row, state!.uploadId!, open, step);
      for (let minutes = 0; minutes < 5; minutes++) {
        for (const body of bodies) body.write(Buffer.alloc(1024 * 1024));
        await clock.advance(seconds(59));
        await cloud.sweeper.sweep();
      }
      await end(bodies, slow);
      await done;
      expect((await (await cloud.core.fresh()).get(imagesTable, row.id))?.status).toBe('active');
    },
  );
  it("that are nobody's, as disks on their way between hosts, have all turns", async () => {
    const bodies = [1, 2, 3, 4].map(() => new PassThrough());
    const works = bodies.map((body) => receive(null, body));
    await clock.advance(ms(0));
    const ends = await end(bodies, works);
    expect(ends.map(({ status }) => status)).toEqual(Array.from({ length: 4 }, () => 'fulfilled'));
  });

  /** So many bytes each time, and so long between them. */
  const slowly = (count: number, size: number, every: Milliseconds) =>
    Readable.from(
      (async function* () {
        for (let i = 0; i < count; i++) {
          yield Buffer.alloc(size);
          await clock.advance(every);
        }
      })(),
    );
  it('are given up when they come too slowly for a minute', async () => {
    await expect(receive('p1', slowly(200, 1, ms(500)))).rejects.toThrow(/did not arrive in time/);
    await expect(receive('p1', slowly(200, 10 * 1024, seconds(1)))).rejects.toThrow(/did not arrive in time/);
  });
  it('may stand still for less than a minute when they come fast enough on the whole', async () => {
    await receive('p1', slowly(4, 1024 * 1024, seconds(59)));
    await receive('p1', slowly(200, 16 * 1024, seconds(1)));
  });
});
