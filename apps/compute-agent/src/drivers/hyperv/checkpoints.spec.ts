import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { bytes, ms, type ServerId } from '@omnivisor/contracts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { recordDisks } from '../../../../../tools/doubles/hyperv/disks/record-disks.mjs';
import { operationFailed } from '../../../../../tools/doubles/hyperv/errors.mjs';
import type { HyperVHost } from '../../../../../tools/doubles/hyperv/host.mjs';
import { fileDisk } from '../common/test-guest.js';
import type { GuestSpec } from '../hypervisor-driver.js';
import type { HyperVDriver } from './hyperv.driver.js';
import { Bench, migratesTo, never } from './testing/bench.js';
import { inside, leftovers, machineOf } from './testing/double.js';

const HOUR = 60 * 60_000;
const VOLUME = 'C:\\Volumes\\one.vhdx';
const theirs = { code: 'fault', message: expect.stringContaining('checkpoint that is not ours') };

let bench: Bench;
let host: HyperVHost;
let driver: HyperVDriver;
let spec: GuestSpec & { id: ServerId };
beforeEach(async () => {
  ({ bench, host, driver, spec } = await Bench.guestOn({ migration: migratesTo('HV2') }, { mergesWithin: 300 }));
  recordDisks.create(host.local(VOLUME), { format: 'VHDX', type: 'Dynamic', size: 1 << 20 });
  await driver.spawn(spec, never);
  await driver.disks.attach(spec.id, volume);
  inside(host, spec.id).write(0, 'A');
});
afterEach(() => bench.close());

const volume = fileDisk(VOLUME, 'one', { format: 'vhdx' });
/** Somebody, or a backup product, takes one; what the guest writes then is above it. */
const checkpoint = async () => {
  await host.run('Checkpoint-VM', { Name: spec.id, SnapshotName: 'before patch day' });
  inside(host, spec.id).write(0, 'B');
  inside(host, spec.id).write(1, 'V');
};
const removed = (mergeTime: number) => {
  host.mergeTime = mergeTime;
  return host.run('Remove-VMSnapshot', { VMName: spec.id, Name: 'before patch day' });
};
const disks = (): string[] =>
  machineOf(host, spec.id).drives.flatMap(({ kind, path }: { kind: string; path: string }) =>
    kind === 'HardDiskDrive' ? path : [],
  );
const rebuilt = () => driver.rebuilding.rebuild({ ...spec, mark: { ...spec.mark, build: 1 } }, never);

describe('a guest on which somebody took a checkpoint', () => {
  beforeEach(checkpoint);

  it('starts with what it has written since', async () => {
    await driver.reboot(spec.id, 'hard', []);
    expect(disks()).toEqual([expect.stringMatching(/avhdx$/), expect.stringMatching(/avhdx$/)]);
    expect(inside(host, spec.id).read(0)).toBe('B');
    await removed(5);
    await expect.poll(() => disks().filter((path) => path.endsWith('.avhdx'))).toEqual([]);
    await driver.reboot(spec.id, 'hard', []);
    expect([0, 1].map((n) => inside(host, spec.id).read(n))).toEqual(['B', 'V']);
  });

  it('is looked at again when a disk is merged away while it is looked at', async () => {
    const path = disks()[0]!;
    host.failNext('Get-VHD', operationFailed(`The system cannot find the file '${path}'. (0x80070002).`));
    await driver.reboot(spec.id, 'hard', []);
    expect(inside(host, spec.id).read(0)).toBe('B');
  });

  it('starts while it is merged, however long that takes', async () => {
    await removed(HOUR);
    await driver.reboot(spec.id, 'hard', []);
    expect(inside(host, spec.id).read(0)).toBe('B');
  });

  it.each<[string, () => Promise<unknown>]>([
    ['a rebuild', rebuilt],
    ['a rescue', () => driver.rescuing.rescue(spec, never)],
    ['a resize', () => driver.resizing.checkResize(spec.id, { ...spec.flavor, vcpus: 2 })],
    ['giving a volume up', () => driver.disks.detach(spec.id, volume.diskId)],
    ['a larger volume', () => driver.diskGrowing.grow(spec.id, volume.diskId, bytes(2 << 20))],
  ])('is refused %s, and goes on', async (_, change) => {
    const before = disks();
    await expect(change()).rejects.toMatchObject(theirs);
    expect(machineOf(host, spec.id).State).toBe('Running');
    expect(disks()).toEqual(before);
  });

  it('is refused a resize, and its revert, while it is off', async () => {
    await driver.powerOff(spec.id, ms(0));
    await expect(driver.resizing.resize(spec.id, { ...spec.flavor, vcpus: 2 }, never)).rejects.toMatchObject(theirs);
    await removed(5);
    await driver.resizing.resize(spec.id, { ...spec.flavor, vcpus: 2 }, never);
    await checkpoint();
    await expect(driver.resizing.revertResize(spec.id)).rejects.toMatchObject(theirs);
  });

  it('is refused the end of a rescue in which it was taken', async () => {
    await removed(5);
    await driver.rescuing.rescue(spec, never);
    await checkpoint();
    await expect(driver.rescuing.unrescue(spec.id, [])).rejects.toMatchObject(theirs);
    expect(machineOf(host, spec.id).State).toBe('Running');
  });

  it('is refused a move', async () => {
    await driver.probe(AbortSignal.timeout(5_000));
    await expect(driver.liveMigration!.offer(spec.id)).rejects.toMatchObject(theirs);
  });

  it('takes a volume that it has once', async () => {
    await driver.disks.attach(spec.id, volume);
    expect(disks()).toHaveLength(2);
  });

  it('has its disks told apart in its statistics', async () => {
    expect((await driver.statistics.read(spec.id)).disks.map(({ disk }) => disk)).toEqual(['root', volume.diskId]);
  });

  it.each([true, false])('is exported as it sees its disk (it runs: %s)', async (runs) => {
    if (!runs) await driver.powerOff(spec.id, ms(0));
    const { stream } = await driver.snapshots.exportDisk(spec.id, 'root', 'vhdx', never);
    await writeFile(join(bench.dir, 'export.vhdx'), stream);
    expect(recordDisks.contentOf(join(bench.dir, 'export.vhdx'))).toBe('B');
  });

  it('is destroyed with it, and its volumes keep what was written to them', async () => {
    await driver.destroy(spec.id);
    expect(leftovers(host, spec.id)).toEqual([]);
    expect(recordDisks.contentOf(host.local(VOLUME))).toBe('V');
  });

  it.each(['before [KB123]', 'before*', 'a `b?'])('is destroyed with one that is called %s', async (SnapshotName) => {
    await host.run('Checkpoint-VM', { Name: spec.id, SnapshotName });
    await driver.destroy(spec.id);
    expect(leftovers(host, spec.id)).toEqual([]);
    expect(recordDisks.contentOf(host.local(VOLUME))).toBe('V');
  });

  it('is changed once all is merged', async () => {
    await removed(20);
    await rebuilt();
    expect([0, 1].map((n) => inside(host, spec.id).read(n))).toEqual(['-', 'V']);
  });

  it('is not changed while that does not end', async () => {
    await removed(HOUR);
    const unmerged = { code: 'fault', message: expect.stringContaining('merged') };
    await expect(rebuilt()).rejects.toMatchObject(unmerged);
    await expect(driver.destroy(spec.id)).rejects.toMatchObject(unmerged);
    expect(await driver.inspect(spec.id)).toMatchObject({ stage: 'settled' });
  });
});
