import { type ImageFormat, type ImageId, seconds } from '@omnivisor/contracts';
import { VirtualClock } from '@omnivisor/platform/testing';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ImageContext } from '../core.js';
import { imageAggregate } from '../image/image-lifecycle.js';
import { serviceContext } from '../service-context.js';
import { MemoryImageStore } from '../store/index.js';
import { type ImageCloud, settings, startImageCloud } from '../testing/image-cloud.js';
import { FormRoom } from './form-room.js';
import { outputBound } from './qemu-img.js';

const GIB = 1024 ** 3;
const user = {};
const host = { first: true };
const id = (n: number) => `7e3c5d0a-6c39-4c68-9a0e-3d8f6f1b9a0${n}` as ImageId;

describe('room for derived forms', () => {
  let cloud: ImageCloud;
  let store: MemoryImageStore;
  let clock: VirtualClock;
  beforeEach(async () => {
    store = new MemoryImageStore(4 * GIB);
    clock = new VirtualClock();
    cloud = await startImageCloud({ store, clock });
  });
  afterEach(() => cloud.stop());

  const room = (formsCapacity: number) =>
    new FormRoom(new ImageContext(cloud.core, store, { ...settings(), formsCapacity }));
  const execute = (n: number, step: string, command: object) =>
    cloud.core.commands.execute(
      imageAggregate,
      id(n),
      { imageId: id(n), ...command } as never,
      serviceContext(id(n), step),
    );
  /** An image with a form of so many bytes that is there, or is being made by somebody. */
  const image = async (n: number, virtualSize: number, format: ImageFormat, size?: number) => {
    const attributes = {
      ...{ name: 'i', owner: 'p1', diskFormat: 'raw', containerFormat: 'bare', visibility: 'private' },
      ...{ protected: false, hidden: false, minDisk: 0, minRam: 0, tags: [] },
    };
    await execute(n, 'create', { kind: 'create', attributes, properties: {} });
    await execute(n, 'start', { kind: 'startUpload', uploadId: id(n) });
    const bytes = { size: 5, checksum: 'm', sha512: 's', sha256: 'h', virtualSize, detectedFormat: 'raw' };
    await execute(n, 'upload', { kind: 'completeUpload', uploadId: id(n), ...bytes });
    const derivationId = `1b1f5c9e-2a4d-4e8f-8b1c-5d6e7f8a9b0${n}`;
    await execute(n, 'derive', { kind: 'startDerivation', derivationId, format });
    const made = { size, sha256: 'h', composed: false, base: null };
    if (size !== undefined) await execute(n, 'made', { kind: 'completeDerivation', derivationId, format, ...made });
  };
  const states = async (n: number) =>
    (await cloud.log.readStream(`image-${id(n)}`)).map((e) => e.type).filter((type) => /Deriv/.test(type));

  it('is taken before a form is made, and those that were not used for long go for it', async () => {
    await image(1, GIB, 'vhdx', 2 * GIB);
    const tight = room(3 * GIB);
    const giveBack = await tight.take(id(2), 'qcow2', GIB, user);
    expect(await states(1)).not.toContain('ImageDerivationDropped');
    giveBack();
    await tight.take(id(2), 'qcow2', GIB + 1, user);
    expect(await states(1)).toContain('ImageDerivationDropped');
  });
  it('counts what is being made by the most it may become, here and elsewhere', async () => {
    await image(1, GIB, 'vhdx');
    const tight = room(2 * (outputBound(GIB) + GIB / 2));
    const giveBack = await tight.take(id(2), 'qcow2', GIB / 2, user);
    await expect(tight.take(id(3), 'qcow2', 1, user)).rejects.toMatchObject({ kind: 'unavailable' });
    giveBack();
    await tight.take(id(3), 'qcow2', 1, user);
  });
  it('is for users a half of it together, and for hosts what the disk has, at the cost of no form', async () => {
    await image(1, GIB, 'vhdx', GIB);
    const tight = room(2 * GIB);
    await expect(tight.take(id(2), 'qcow2', GIB + 1, user)).rejects.toMatchObject({ kind: 'unavailable' });
    await tight.take(id(2), 'qcow2', GIB, user);
    await expect(tight.take(id(3), 'qcow2', 1, user)).rejects.toMatchObject({ kind: 'unavailable' });
    await tight.take(id(3), 'qcow2', 2 * GIB, host);
    await tight.take(id(4), 'qcow2', 2 * GIB, host);
    expect(await states(1)).not.toContain('ImageDerivationDropped');
  });
  it("is no longer a user's when a host comes to need the form", async () => {
    const tight = room(2 * GIB);
    const maker: { first?: boolean } = {};
    await tight.take(id(1), 'qcow2', GIB, maker);
    await expect(tight.take(id(2), 'qcow2', 1, user)).rejects.toMatchObject({ kind: 'unavailable' });
    maker.first = true;
    await tight.take(id(2), 'qcow2', GIB, user);
  });
  it('is for users a half of the disk, too, where that is smaller', async () => {
    await expect(room(100 * GIB).take(id(1), 'qcow2', 2 * GIB + 1, user)).rejects.toThrow(/no room/);
    await room(100 * GIB).take(id(1), 'qcow2', 2 * GIB, user);
    await room(100 * GIB).take(id(2), 'qcow2', 4 * GIB, host);
  });
  it('is what the disk of the store has, too', async () => {
    await expect(room(100 * GIB).take(id(2), 'qcow2', 5 * GIB, host)).rejects.toThrow(
      /no room to convert the image now/,
    );
  });
  it('is given back by a form that takes more than there is for all when nobody has asked for it for a while', async () => {
    await image(1, 5 * GIB, 'vhdx', 3 * GIB);
    const tight = room(2 * GIB);
    await clock.advance(seconds(540));
    await tight.collect();
    expect(await states(1)).not.toContain('ImageDerivationDropped');
    await clock.advance(seconds(60));
    await tight.collect();
    expect(await states(1)).toContain('ImageDerivationDropped');
  });
  it('that cannot be had costs nobody the forms that are there', async () => {
    await image(1, GIB, 'vhdx', GIB);
    await expect(room(2 * GIB).take(id(2), 'qcow2', 3 * GIB, user)).rejects.toMatchObject({ kind: 'unavailable' });
    expect(await states(1)).not.toContain('ImageDerivationDropped');
  });
  it('is not taken for what is put together from what is there', async () => {
    await expect(room(2).take(id(2), 'qcow2', 1, user)).resolves.toBeTypeOf('function');
    await expect(room(0).take(id(2), 'qcow2', 1, user)).rejects.toMatchObject({ kind: 'unavailable' });
    await expect(room(0).take(id(2), 'ova', 0, user)).resolves.toBeTypeOf('function');
  });
});
