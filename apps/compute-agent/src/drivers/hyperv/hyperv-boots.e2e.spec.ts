import { randomUUID } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mib, ms, ServerId } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { HyperVHost } from '../../../../../tools/doubles/hyperv/host.mjs';
import { listen, realGuests } from '../../../../../tools/doubles/hyperv/serve.mjs';
import { type OneImage, startOneImage } from '../../../../../tools/image/one-image.js';
import { flatNic, rootFrom, testGuest } from '../common/test-guest.js';
import { localProcess } from './host-processes.js';
import { HyperVDriver } from './hyperv.driver.js';
import { Images } from './testing/double.js';
import { inShell } from './testing/serial-shell.js';

const cloudId = 'test-cloud';
const path = (relative: string) => new URL(relative, import.meta.url).pathname;
const tools = '../../../../../tools';
const script = path('./host/omnivisor-host.ps1');
const hasFirmware = existsSync('/usr/share/OVMF/OVMF_CODE_4M.ms.fd');

/**
 * The bytes of a guest's disk, booted: the double starts the VHD or VHDX that the driver made of the image service's. Devices
 * are QEMU's; this says nothing of the drivers for Hyper-V's own.
 */
describe('the test image on the double of Hyper-V', () => {
  const dir = mkdtempSync(join(tmpdir(), 'hyperv-boots-'));
  const host = new HyperVHost(join(dir, 'host'), realGuests);
  const images = new Images();
  let server: Awaited<ReturnType<typeof listen>>;
  let driver: HyperVDriver;
  let one: OneImage;

  beforeAll(async () => {
    await images.open();
    await host.open();
    server = await listen(host);
    process.env.OMNIVISOR_HYPERV_DOUBLE = server.path;
    one = await startOneImage();
    driver = new HyperVDriver({
      cloudId,
      nodes: [{ name: 'double', open: localProcess({ script }, path(`${tools}/doubles/hyperv/powershell.mjs`)) }],
      switches: { physnet1: 'External' },
      generation: 1,
      dynamicMemoryRatio: 1,
    });
  });
  afterAll(async () => {
    // Of a boot that failed.
    for (const { mark } of await driver.list()) await driver.destroy(mark.serverId);
    await driver.close();
    await one?.stop();
    delete process.env.OMNIVISOR_HYPERV_DOUBLE;
    await server.close();
    await host.close();
    images.close();
    rmSync(dir, { recursive: true });
  });

  /** Boots it, asks it to go off, and gives back what it wrote to its console. */
  const boot = async (format: 'vhd' | 'vhdx', memory: number, properties: Record<string, string>) => {
    const id = ServerId.parse(randomUUID());
    const small = testGuest(id, cloudId);
    await driver.spawn(
      {
        ...small,
        disks: rootFrom(images.source(await one.file(format), format)),
        image: { ...small.image, properties },
        flavor: { ...small.flavor, memory: mib(memory) },
        nics: [flatNic('fa:16:3e:00:00:07')],
        configDrive: new Map([
          ['openstack/latest/meta_data.json', Buffer.from(JSON.stringify({ uuid: id, hostname: 'hyper' }))],
        ]),
      },
      new AbortController().signal,
    );
    const said = async () => (await driver.consoleLog!.tail(id, 1 << 20)).toString('latin1');
    await expect
      .poll(said, { timeout: 120_000, interval: 200 })
      // With the prompt: what is typed before it is lost.
      .toMatch(/finished: Datasource ConfigDrive\. hostname=hyper[\s\S]*~ # /);
    // Inspected, no more: there is no device of Hyper-V's own to try them on.
    const drivers = await inShell(driver, id, 'find /lib/modules -name "hv_*.ko*"');
    for (const name of ['hv_vmbus', 'hv_storvsc', 'hv_netvsc', 'hv_utils']) expect(drivers).toContain(name);
    await driver.powerOff(id, ms(60_000));
    expect(await driver.inspect(id)).toMatchObject({ power: 'shutdown' });
    const text = await said();
    await driver.destroy(id);
    return text;
  };

  it('runs from a VHD on generation 1: BIOS, disk and DVD on IDE', { timeout: 200_000 }, async () => {
    const text = await boot('vhd', 128, { hw_firmware_type: 'bios' });
    expect(text).toMatch(/firmware=bios[\s\S]*disk sda \d+ bytes driver=sd/);
    expect(text).toMatch(/nic \S+ fa:16:3e:00:00:07/);
  });

  it.runIf(hasFirmware)('runs from a VHDX on generation 2 with secure boot', { timeout: 200_000 }, async () => {
    const text = await boot('vhdx', 384, { hw_firmware_type: 'uefi', os_secure_boot: 'required' });
    expect(text).toMatch(/firmware=uefi-secureboot, lockdown=.*\[integrity\]/);
    expect(text).not.toMatch(/ata_piix/);
  });
});
