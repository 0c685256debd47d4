import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mib, ServerId } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fileSource, rootFrom, testGuest } from '../common/test-guest.js';
import { FIRMWARE } from './command-line.js';
import { QemuDriver } from './qemu.driver.js';

const cloudId = 'test-cloud';
const builder = new URL('../../../../../tools/image/image.mjs', import.meta.url).pathname;
const hasFirmware = existsSync(FIRMWARE.secureBoot.code);

/** One image by each way to boot, at once. UEFI comes from a package of the host that may be missing. */
describe.concurrent('the test image on QEMU', () => {
  const stateDir = mkdtempSync(join(tmpdir(), 'omnivisor-firmware-'));
  const driver = new QemuDriver({ stateDir, cloudId, accel: 'tcg' });
  const ids: ServerId[] = [];
  let imagePath: string;

  beforeAll(() => {
    const cache = join(tmpdir(), 'omnivisor-test-image');
    imagePath = execFileSync('node', [builder, '--cache', cache], { encoding: 'utf8' }).trim();
  });
  afterAll(async () => {
    for (const id of ids) await driver.destroy(id);
    await driver.close();
    rmSync(stateDir, { recursive: true });
  });

  /** What it wrote to its console until it was up. */
  const boot = async (memory: number, properties: Record<string, string>): Promise<string> => {
    const id = ServerId.parse(randomUUID());
    ids.push(id);
    const small = testGuest(id, cloudId);
    const metadata = Buffer.from(JSON.stringify({ uuid: id, hostname: 'firm' }));
    const spec = {
      ...small,
      disks: rootFrom(fileSource(imagePath, 'qcow2')),
      image: { ...small.image, properties },
      flavor: { ...small.flavor, memory: mib(memory) },
      configDrive: new Map([['openstack/latest/meta_data.json', metadata]]),
    };
    await driver.spawn(spec, new AbortController().signal);
    const said = async () => (await driver.consoleLog.tail(id, 1 << 20)).toString('latin1');
    await expect
      .poll(said, { timeout: 120_000, interval: 200 })
      .toContain('finished: Datasource ConfigDrive. hostname=firm');
    return said();
  };

  it('boots by BIOS from a SCSI disk', { timeout: 150_000 }, async () => {
    expect(await boot(128, { hw_disk_bus: 'scsi' })).toMatch(/firmware=bios[\s\S]*disk sda \d+ bytes driver=sd/);
  });

  it.runIf(hasFirmware)('boots by UEFI on q35', { timeout: 150_000 }, async () => {
    expect(await boot(256, { hw_firmware_type: 'uefi', hw_machine_type: 'q35' })).toContain('firmware=uefi,');
  });

  it.runIf(hasFirmware)('boots with secure boot, and locks its kernel down', { timeout: 150_000 }, async () => {
    expect(await boot(384, { hw_firmware_type: 'uefi', os_secure_boot: 'required' })).toMatch(
      /firmware=uefi-secureboot, lockdown=.*\[integrity\]/,
    );
  });
});
