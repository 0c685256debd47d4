import { randomUUID } from 'node:crypto';
import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ServerId } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fileDisk, fileSource, rootFrom, testGuest } from '../common/test-guest.js';
import type { HostShell } from './host-shell.js';
import { type DoubleShell, XlDouble } from './testing/xl-double.js';
import { XenDriver } from './xen.driver.js';

const cloudId = 'test-cloud';
const never = new AbortController().signal;

/** As another shell, but what a script or an argument has in it is done without its answer. */
class Deaf implements HostShell {
  readonly isRemote = false;
  to: string | null = null;

  constructor(private readonly shell: DoubleShell) {}

  start(script: string, args: readonly string[]) {
    const isUnheard = this.to !== null && [script, ...args].some((text) => text.includes(this.to!));
    return this.shell.start(isUnheard ? `(${script}\n)\nexit 255` : script, args);
  }

  close(): void {}
}

describe('a Xen host that fails', { timeout: 30_000 }, () => {
  const double = new XlDouble();
  const image = join(double.folder, 'image.raw');
  const shell = new Deaf(double.shell());
  const xen = new XenDriver({ cloudId, shell, root: double.root, type: 'pv', bridges: { physnet1: 'xenbr0' } });
  const id = ServerId.parse(randomUUID());

  beforeAll(async () => {
    writeFileSync(image, 'an image');
    truncateSync(image, 1 << 20);
    await xen.spawn(testGuest(id, cloudId, { disks: rootFrom(fileSource(image)) }), never);
  });
  afterAll(() => double.close());

  it('attaches a disk without saying so: a detach still takes it from the guest', async () => {
    const path = join(double.folder, 'volume.raw');
    writeFileSync(path, 'a volume');
    const disk = fileDisk(path, 'volume');
    shell.to = 'block-attach';
    await expect(xen.disks.attach(id, disk)).rejects.toMatchObject({ code: 'unavailable' });
    shell.to = null;
    const devices = async () =>
      (await double.xl('block-list', (await double.xl('domid', id)).trim())).trim().split('\n');
    expect(await devices()).toHaveLength(3);
    await xen.disks.detach(id, disk.diskId);
    expect(await devices()).toHaveLength(2);
  });
});
