import { randomUUID } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ms, ServerId } from '@omnivisor/contracts';
import { afterAll, describe, expect, it } from 'vitest';
import { fileDisk } from '../common/test-guest.js';
import { QemuDriver } from './qemu.driver.js';
import { CLOUD, TinyGuests } from './testing/tiny-guests.js';

const never = new AbortController().signal;

describe('a device of a QEMU guest', () => {
  const stateDir = mkdtempSync(join(tmpdir(), 'ov-unplug-'));
  const tiny = new TinyGuests([stateDir]);
  const driver = new QemuDriver({ stateDir, cloudId: CLOUD, accel: 'tcg' });
  afterAll(async () => {
    await driver.close();
    rmSync(stateDir, { recursive: true });
  });

  it('is kept while the guest is paused, which is told at once', async () => {
    const spec = tiny.spec(ServerId.parse(randomUUID()));
    const { serverId: id } = spec.mark;
    const path = join(stateDir, 'disk.raw');
    writeFileSync(path, '');
    truncateSync(path, 1 << 20);
    chmodSync(path, 0o666);
    await driver.spawn(spec, never);
    await tiny.inside.up(id);
    const disk = fileDisk(path, 'kept');
    await driver.disks.attach(id, disk);
    await driver.pausing.pause(id);
    await expect(driver.disks.detach(id, disk.diskId)).rejects.toMatchObject({ code: 'fault', message: /paused/ });
    await driver.pausing.unpause(id);
    await driver.powerOff(id, ms(0));
    await driver.disks.detach(id, disk.diskId);
    await driver.destroy(id);
  });
});
