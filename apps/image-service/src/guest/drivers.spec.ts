import { describe, expect, it } from 'vitest';
import { driverOf, driversIn } from './drivers.js';

/** CPU time of this process in milliseconds. */
const cost = (work: () => void): number => {
  const before = process.cpuUsage();
  work();
  return process.cpuUsage(before).user / 1_000;
};

describe('drivers by the names of their modules', () => {
  it.each([
    ['kernel/drivers/block/virtio_blk.ko', 'virtio_blk'],
    ['usr/lib/modules/6.1.0/kernel/drivers/block/xen-blkfront.ko.zst', 'xen_blkfront'],
    ['ahci.ko.xz', 'ahci'],
    ['kernel/fs/ext4/ext4.ko', undefined],
    ['kernel/drivers/block/virtio_blk.ko/README', undefined],
    ['kernel/.ko', undefined],
  ])('%s is %s', (path, driver) => expect(driverOf(path)).toBe(driver));
  it('are read from either list', () =>
    expect(driversIn('kernel/net/e1000e.ko: kernel/drivers/ahci.ko\nkernel/block/virtio-blk.ko.gz:\n')).toEqual([
      'e1000e',
      'virtio_blk',
    ]));
  it.each(['\0', 'a', '.ko', 'a/'])('cost little in a line without end of %j', (part) =>
    expect(cost(() => driversIn(part.repeat(50_000)))).toBeLessThan(500),
  );
});
