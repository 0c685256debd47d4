import { type GuestFacts, type ImageId, inspectImage, ms } from '@omnivisor/contracts';
import { VirtualClock } from '@omnivisor/platform/testing';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ImageContext } from '../core.js';
import { guestsTable, type ImageRow } from '../image/image.projection.js';
import { imageAggregate } from '../image/image-lifecycle.js';
import { serviceContext } from '../service-context.js';
import { type ImageCloud, settings, startImageCloud } from '../testing/image-cloud.js';
import { Unfinished } from './disk.js';
import type { GuestDisks } from './guest-disks.js';
import { GuestInspections } from './guest-inspections.js';

const facts: GuestFacts = {
  ...{ partitions: 'none', firmware: [], fileSystems: [], distribution: null, kernel: null },
  ...{ bootDrivers: [], otherDrivers: [], agents: [], unknown: null },
};
const id = (n: number) => `7e3c5d0a-6c39-4c68-9a0e-3d8f6f1b9a0${n}` as ImageId;

describe('looks at guests', () => {
  let cloud: ImageCloud;
  let clock: VirtualClock;
  let guests: GuestInspections;
  /** Under way, by image: ends the look. */
  const looks = new Map<ImageId, () => void>();
  const replicaWith = (disks: Partial<GuestDisks>) =>
    new GuestInspections(
      new ImageContext(cloud.core, cloud.store, settings()),
      { canLook: () => true, ...disks } as unknown as GuestDisks,
      () => {},
    );
  beforeEach(async () => {
    looks.clear();
    clock = new VirtualClock();
    cloud = await startImageCloud({ clock });
    guests = replicaWith({
      facts: (row: ImageRow) =>
        new Promise<GuestFacts>((resolve) => {
          looks.set(row.id, () => {
            looks.delete(row.id);
            resolve(facts);
          });
        }),
    });
    guests.watch();
  });
  afterEach(async () => {
    for (const end of looks.values()) end();
    await guests.stop();
    await cloud.stop();
  });

  const image = async (n: number, owner: string) => {
    const execute = (step: string, command: object) =>
      cloud.core.commands.execute(
        imageAggregate,
        id(n),
        { imageId: id(n), ...command } as never,
        serviceContext(id(n), step),
      );
    const attributes = {
      ...{ name: 'i', owner, diskFormat: 'raw', containerFormat: 'bare', visibility: 'private' },
      ...{ protected: false, hidden: false, minDisk: 0, minRam: 0, tags: [] },
    };
    await execute('create', { kind: 'create', attributes, properties: {} });
    await execute('start', { kind: 'startUpload', uploadId: id(n) });
    const bytes = { size: 5, checksum: 'm', sha512: 's', sha256: 'h', virtualSize: 5, detectedFormat: 'raw' };
    await execute('upload', { kind: 'completeUpload', uploadId: id(n), ...bytes, format: 'raw' });
  };
  const underWay = (...numbers: number[]) =>
    vi.waitFor(() => expect([...looks.keys()].sort()).toEqual(numbers.map(id)));

  it('are taken a few at a time, and not all of them by one project', async () => {
    await image(1, 'p1');
    await underWay(1);
    await image(2, 'p1');
    await image(4, 'p2');
    await underWay(1, 4);
    looks.get(id(1))!();
    await underWay(2, 4);
  });
  it('are taken before others where a server waits for them', async () => {
    await image(1, 'p1');
    await underWay(1);
    for (const n of [2, 3]) await image(n, 'p1');
    const waiting = guests.lookAt(id(3));
    await underWay(1, 3);
    looks.get(id(3))!();
    await waiting;
    expect((await cloud.log.readStream(`image-${id(3)}`)).map((e) => e.type)).toContain('ImageInspected');
    await underWay(1);
  });
  it('are begun a few times at most, by all replicas together, where each ended its process', async () => {
    await guests.stop();
    await image(1, 'p1');
    const begun: number[] = [];
    const types = async () => (await cloud.log.readStream(`image-${id(1)}`)).map((e) => e.type).slice(3);
    for (let round = 0; round < 5; round++) {
      const replica = replicaWith({
        facts: async () => {
          begun.push(begun.length);
          throw new Error('as if nobody lived to hear of it');
        },
      });
      await replica.idle();
      await replica.idle();
      await replica.stop();
      await clock.advance(ms(600_000));
    }
    expect(begun).toEqual([0, 1, 2]);
    expect(await types()).toEqual([...Array(3).fill('ImageInspectionStarted'), 'ImageInspected']);
    const row = await (await cloud.core.fresh()).get(guestsTable, id(1));
    expect(row?.guest.unknown).toBe('it could not be looked at');
  });
  it('are not begun while another replica is at it; a server waits for that one', async () => {
    await image(1, 'p1');
    await underWay(1);
    const others: string[] = [];
    const replica = replicaWith({
      facts: async (row: ImageRow) => {
        others.push(row.id);
        return facts;
      },
    });
    await replica.idle();
    let done = false;
    const waiting = replica.lookAt(id(1)).then(() => {
      done = true;
    });
    await clock.advance(ms(1_000));
    expect(done).toBe(false);
    looks.get(id(1))!();
    await vi.waitFor(async () => {
      await clock.advance(ms(200));
      expect(done).toBe(true);
    });
    await waiting;
    expect(others).toEqual([]);
    await replica.stop();
  });
  it('that failed a moment ago are not begun again, however many servers wait', async () => {
    await guests.stop();
    await image(1, 'p1');
    let begun = 0;
    const replica = replicaWith({
      facts: async () => {
        begun++;
        throw new Error('no space left');
      },
    });
    for (let server = 0; server < 4; server++) await replica.lookAt(id(1));
    expect(begun).toBe(1);
    await clock.advance(ms(180_000));
    for (let server = 0; server < 4; server++) await replica.lookAt(id(1));
    expect(begun).toBe(2);
    await replica.stop();
  });
  it('that were ended before they were done are a verdict at the last try only', async () => {
    await guests.stop();
    await image(1, 'p1');
    const replica = replicaWith({
      facts: async () => {
        throw new Unfinished('it takes too much time to look at');
      },
    });
    const verdict = async () => (await (await cloud.core.fresh()).get(guestsTable, id(1)))?.guest.unknown;
    for (let round = 0; round < 3; round++) {
      expect(await verdict()).toBeUndefined();
      await replica.lookAt(id(1));
      await clock.advance(ms(180_000));
    }
    expect(await verdict()).toBe('it takes too much time to look at');
    await replica.stop();
  });
  it('are neither begun nor counted where the tool for them is missing', async () => {
    await guests.stop();
    await image(1, 'p1');
    const replica = replicaWith({ canLook: () => false });
    await replica.idle();
    await replica.lookAt(id(1));
    expect((await cloud.log.readStream(`image-${id(1)}`)).map((e) => e.type).slice(3)).toEqual([]);
    await replica.stop();
  });
  it('end for whoever waits, also when there is nothing to look at', async () => {
    await guests.lookAt(id(9));
    await expect(cloud.bus.request(inspectImage, { imageId: id(9) })).resolves.toEqual({});
  });
});
