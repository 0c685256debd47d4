import type { FileHandle } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { type Bytes, type ImageFormat, type ImageId, ms, seconds } from '@omnivisor/contracts';
import { VirtualClock } from '@omnivisor/platform/testing';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ImageContext } from '../core.js';
import { type ImageRow, imagesTable } from '../image/image.projection.js';
import { imageAggregate } from '../image/image-lifecycle.js';
import { type Sandbox, ToolFailed } from '../sandbox/sandbox.js';
import { serviceContext } from '../service-context.js';
import { MemoryImageStore, StoreFull } from '../store/index.js';
import { type ImageCloud, settings, startImageCloud } from '../testing/image-cloud.js';
import { FormCollector } from './form-collector.js';
import { FormMaker, type MadeForm } from './form-maker.js';
import { FormRoom } from './form-room.js';
import { forHost, ImageForms } from './image-forms.js';
import type { Asker } from './making.js';

const made: MadeForm = { size: 9 as Bytes, sha256: 'h' };
const patience = ms(3_600_000);
const id = (n: number) => `7e3c5d0a-6c39-4c68-9a0e-3d8f6f1b9a0${n}` as ImageId;

describe('forms of images that are being made', () => {
  let clock: VirtualClock;
  let cloud: ImageCloud;
  let forms: ImageForms;
  const failures: string[] = [];
  /** By replica, image and form: ends its making, well or with an error. */
  const under = new Map<string, (error?: Error) => void>();
  /** What one replica of the service makes; the name comes before its keys in `under`. */
  const replica = (name = '') => {
    const context = new ImageContext(cloud.core, cloud.store, { ...settings(), conversions: 1 });
    const maker = {
      problem: () => null,
      make: (row: ImageRow, _: ImageFormat, to: ImageFormat, __: string, signal: AbortSignal) =>
        new Promise<MadeForm>((resolve, reject) => {
          const key = `${name}${row.id}/${to}`;
          const end = (error?: Error) => {
            under.delete(key);
            if (error) reject(error);
            else resolve(made);
          };
          under.set(key, end);
          signal.addEventListener('abort', () => end(new Error('killed')));
        }),
    } as unknown as FormMaker;
    return new ImageForms(context, maker, new FormRoom(context), (where) => failures.push(where));
  };
  beforeEach(async () => {
    failures.length = 0;
    under.clear();
    clock = new VirtualClock();
    // Its own sweeper knows nothing of what is made here.
    const store = new MemoryImageStore(Number.POSITIVE_INFINITY, () => Date.parse(clock.now()));
    cloud = await startImageCloud({ clock, store, settings: { standstill: 86_400_000 } });
    forms = replica();
    forms.watch();
  });
  afterEach(async () => {
    await forms.stop();
    await cloud.stop();
  });

  const execute = (n: number, step: string, command: object) =>
    cloud.core.commands.execute(
      imageAggregate,
      id(n),
      { imageId: id(n), ...command } as never,
      serviceContext(id(n), step),
    );
  const image = async (n: number, owner: string, virtualSize = 5): Promise<ImageRow> => {
    const attributes = {
      ...{ name: 'i', owner, diskFormat: 'raw', containerFormat: 'bare', visibility: 'private' },
      ...{ protected: false, hidden: false, minDisk: 0, minRam: 0, tags: [] },
    };
    await execute(n, 'create', { kind: 'create', attributes, properties: {} });
    await execute(n, 'start', { kind: 'startUpload', uploadId: id(n) });
    const bytes = { size: 5, checksum: 'm', sha512: 's', sha256: 'h', virtualSize, detectedFormat: 'raw' };
    await execute(n, 'upload', { kind: 'completeUpload', uploadId: id(n), ...bytes, format: 'raw' });
    return (await (await cloud.core.fresh()).get(imagesTable, id(n)))!;
  };
  const collectorOf = (of: ImageForms) => {
    const context = new ImageContext(cloud.core, cloud.store, settings());
    return new FormCollector(context, of, new FormRoom(context));
  };
  /** Asks, and goes away. */
  const asked = async (row: ImageRow, format: ImageFormat, asker?: Asker) => {
    let answer: unknown;
    void forms.ready(row, format, ms(0), asker).then((form) => {
      answer = form;
    });
    await clock.runUntil(() => answer !== undefined);
    expect(answer).toBeNull();
  };
  const making = (...names: string[]) => vi.waitFor(() => expect([...under.keys()]).toEqual(names));
  const events = async (n: number) =>
    (await cloud.log.readStream(`image-${id(n)}`)).map((e) => e.type).filter((type) => /Deriv/.test(type));

  it('end at once when their image is deleted, with 404 for those who wait, and are no failure', async () => {
    const row = await image(1, 'p1');
    const waiting = forms.ready(row, 'vhdx', patience);
    await making(`${id(1)}/vhdx`);
    const told = expect(waiting).rejects.toMatchObject({ kind: 'notFound' });
    await execute(1, 'delete', { kind: 'delete' });
    await told;
    expect([...under.keys(), ...failures]).toEqual([]);
  });
  it('wait for their turn no longer, either', async () => {
    const [first, second] = [await image(1, 'p1'), await image(2, 'p2')];
    const done = forms.ready(first, 'vhdx', patience);
    await making(`${id(1)}/vhdx`);
    const waiting = forms.ready(second, 'vhdx', patience);
    const told = expect(waiting).rejects.toMatchObject({ kind: 'notFound' });
    await clock.advance(ms(0));
    await execute(2, 'delete', { kind: 'delete' });
    await told;
    under.get(`${id(1)}/vhdx`)!();
    expect(await done).toMatchObject({ format: 'vhdx', size: 9 });
  });
  it('end when nobody has waited for them for a while, and are begun anew for whoever asks then', async () => {
    const row = await image(1, 'p1');
    await asked(row, 'ova');
    await making(`${id(1)}/vmdk`);
    await clock.advance(seconds(100));
    await asked(row, 'ova');
    await clock.advance(seconds(100));
    await making(`${id(1)}/vmdk`);
    // First what is put together, and then what that waited for.
    await clock.advance(seconds(300));
    await vi.waitFor(async () => expect(await events(1)).toEqual(['ImageDerivationStarted', 'ImageDerivationDropped']));
    expect([...under.keys(), ...failures]).toEqual([]);
    const again = forms.ready(row, 'vmdk', patience);
    await making(`${id(1)}/vmdk`);
    under.get(`${id(1)}/vmdk`)!();
    expect(await again).toMatchObject({ format: 'vmdk' });
  });
  it('are begun for hosts while users wait, and go on for them', async () => {
    const rows = [await image(1, 'p1'), await image(2, 'p1'), await image(3, 'p2')];
    for (const row of rows) await asked(row, 'vhdx');
    await making(`${id(1)}/vhdx`);
    await asked(rows[1]!, 'vhdx', forHost(rows[1]!));
    await making(`${id(1)}/vhdx`, `${id(2)}/vhdx`);
    await clock.advance(seconds(200));
    await making(`${id(2)}/vhdx`);
    under.get(`${id(2)}/vhdx`)!();
    await vi.waitFor(async () => expect(await events(2)).toContain('ImageDerived'));
  });
  it.each([
    ['the half for users', 500 * 1024 * 1024],
    ['all of the room', 5 * 1024 ** 3],
  ])('of a disk that takes more than %s are made for hosts, and users have them then', async (_, virtualSize) => {
    const row = await image(1, 'p1', virtualSize);
    const [problem, exportProblem] = [forms.problem(row, 'vhdx'), forms.exportProblem(row, 'vhdx')];
    expect([problem, exportProblem]).toEqual([null, 'The image is too large to be converted in this cloud.']);
    await expect(forms.ready(row, 'vhdx', patience)).rejects.toMatchObject({ kind: 'unsupported' });
    const forTheHost = forms.ready(row, 'vhdx', patience, forHost(row));
    await making(`${id(1)}/vhdx`);
    under.get(`${id(1)}/vhdx`)!();
    expect(await forTheHost).toMatchObject({ format: 'vhdx' });
    expect(await forms.ready(row, 'vhdx', patience)).toMatchObject({ format: 'vhdx' });
  });
  it.each([
    ['waits for them there any more', () => clock.advance(seconds(600))],
    ['works there any more', () => forms.stop()],
  ])('are begun anew by a replica that waits for another where nobody %s', async (_, ended) => {
    const row = await image(1, 'p1');
    await asked(row, 'vhdx', forHost(row));
    await making(`${id(1)}/vhdx`);
    const other = replica('other ');
    const waiting = other.ready(row, 'vhdx', patience, forHost(row));
    await clock.advance(seconds(1));
    await ended();
    await clock.advance(seconds(1));
    await making(`other ${id(1)}/vhdx`);
    under.get(`other ${id(1)}/vhdx`)!();
    expect(await waiting).toMatchObject({ format: 'vhdx' });
  });
  it('are begun anew when the replica that made them died', async () => {
    const row = await image(1, 'p1');
    const derivationId = '1b1f5c9e-2a4d-4e8f-8b1c-5d6e7f8a9b01';
    await execute(1, 'died', { kind: 'startDerivation', derivationId, format: 'vhdx' });
    const waiting = forms.ready(row, 'vhdx', patience);
    await clock.advance(seconds(60));
    const collector = collectorOf(forms);
    await collector.collect();
    await clock.advance(seconds(1));
    await making(`${id(1)}/vhdx`);
    await collector.collect();
    under.get(`${id(1)}/vhdx`)!();
    expect(await waiting).toMatchObject({ format: 'vhdx' });
  });
  /** Bytes that come for longer than others wait for dead ones, who look meanwhile. */
  const slowly = () => {
    const collector = collectorOf(replica('other '));
    return Readable.from(
      (async function* () {
        for (let i = 0; i < 5; i++) {
          await clock.advance(seconds(30));
          yield Buffer.alloc(1);
          await collector.collect();
        }
      })(),
    );
  };
  it('are put together for longer than other replicas wait for dead ones', async () => {
    const row = await image(1, 'p1');
    vi.spyOn(cloud.store, 'read').mockImplementation(async () => slowly());
    expect(await forms.ready(row, 'vhd-fixed', patience)).toMatchObject({ format: 'vhd-fixed' });
  });
  it('are read for longer, too, when they were made', async () => {
    const row = await image(1, 'p1');
    const begin = cloud.store.begin.bind(cloud.store);
    const file = { chmod: async () => {}, createReadStream: slowly } as unknown as FileHandle;
    vi.spyOn(cloud.store, 'begin').mockImplementation(async (key) => ({ ...(await begin(key)), file }));
    const context = new ImageContext(cloud.core, cloud.store, settings());
    const maker = new FormMaker(cloud.store, {} as Sandbox, { write: async () => {} });
    const making = new ImageForms(context, maker, new FormRoom(context), (where) => failures.push(where));
    expect(await making.ready(row, 'ari', patience)).toMatchObject({ format: 'ari', size: 5 });
    expect(failures).toEqual([]);
  });
  it('are put together where the store takes no writes', async () => {
    const row = await image(1, 'p1');
    const readOnly = Object.assign(new Error('read-only file system'), { code: 'EROFS' });
    vi.spyOn(cloud.store, 'begin').mockRejectedValue(readOnly);
    vi.spyOn(cloud.store, 'touch').mockRejectedValue(readOnly);
    vi.spyOn(cloud.store, 'read').mockImplementation(async () =>
      Readable.from(
        (async function* () {
          await clock.advance(seconds(30_000));
          yield Buffer.alloc(5);
        })(),
      ),
    );
    expect(await forms.ready(row, 'vhd-fixed', ms(86_400_000))).toMatchObject({ format: 'vhd-fixed' });
    expect(failures).toEqual([]);
  });
  it('that another replica makes take no turn', async () => {
    const rows = [await image(1, 'p1'), await image(2, 'p2')];
    await asked(rows[0]!, 'vhdx');
    await making(`${id(1)}/vhdx`);
    const other = replica('other ');
    const both = rows.map((row) => other.ready(row, 'vhdx', patience));
    await making(`${id(1)}/vhdx`, `other ${id(2)}/vhdx`);
    for (const end of [...under.values()]) end();
    await clock.advance(seconds(1));
    expect(await Promise.all(both)).toMatchObject([{ format: 'vhdx' }, { format: 'vhdx' }]);
  });
  it('may be asked for again when they were given up for dead meanwhile', async () => {
    const row = await image(1, 'p1');
    const waiting = forms.ready(row, 'vhdx', patience);
    await making(`${id(1)}/vhdx`);
    const [{ derivationId }] = (await cloud.log.readStream(`image-${id(1)}`))
      .filter((e) => e.type === 'ImageDerivationStarted')
      .map((e) => e.data as { derivationId: string }) as [{ derivationId: string }];
    await execute(1, 'dead', { kind: 'dropDerivation', derivationId, format: 'vhdx' });
    under.get(`${id(1)}/vhdx`)!();
    await expect(waiting).rejects.toMatchObject({ kind: 'unavailable' });
  });
  it.each([
    ['the store', new StoreFull()],
    ['qemu-img', new ToolFailed('qemu-img', 'status 1', 'error while writing: No space left on device')],
  ])('end with 503 where %s finds the disk full, and may be asked for at once', async (_, full) => {
    const row = await image(1, 'p1');
    for (const error of [full, full, undefined]) {
      const waiting = forms.ready(row, 'vhdx', patience);
      await making(`${id(1)}/vhdx`);
      under.get(`${id(1)}/vhdx`)!(error);
      if (error) await expect(waiting).rejects.toMatchObject({ kind: 'unavailable' });
      else expect(await waiting).toMatchObject({ format: 'vhdx' });
    }
  });
  it('that fail are not tried again for a minute', async () => {
    const row = await image(1, 'p1');
    const waiting = forms.ready(row, 'vhdx', patience);
    await making(`${id(1)}/vhdx`);
    under.get(`${id(1)}/vhdx`)!(new ToolFailed('qemu-img', 'SIGKILL', ''));
    for (const told of [waiting, forms.ready(row, 'vhdx', patience)])
      await expect(told).rejects.toMatchObject({ kind: 'conflict' });
    await clock.advance(seconds(60));
    const again = forms.ready(row, 'vhdx', patience);
    await making(`${id(1)}/vhdx`);
    under.get(`${id(1)}/vhdx`)!();
    expect(await again).toMatchObject({ format: 'vhdx' });
  });
  it('end with the service, and are no failure', async () => {
    const row = await image(1, 'p1');
    const told = expect(forms.ready(row, 'vhdx', patience)).rejects.toMatchObject({ kind: 'unavailable' });
    await making(`${id(1)}/vhdx`);
    await forms.stop();
    await told;
    expect(await events(1)).toEqual(['ImageDerivationStarted', 'ImageDerivationDropped']);
    expect(failures).toEqual([]);
  });
});
