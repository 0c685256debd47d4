import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { gib } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { which } from '../../../../../tools/services/process.mjs';
import { fileSource, rootFrom } from '../common/test-guest.js';
import { noSimulator } from './testing/simulator.js';
import { never, VcenterUnderTest } from './testing/vcenter-under-test.js';

const MACHINE = ['-machine', 'pc,accel=tcg', '-m', '32', '-nodefaults', '-display', 'none', '-serial', 'stdio'];

/** Boots a disk by BIOS from VMware's own controller, beside VMware's own network card. @returns what the guest says */
const boot = async (vmdk: string, says: RegExp): Promise<string> => {
  const disk = `file=${vmdk},format=vmdk,if=none,id=root,snapshot=on`;
  const devices = ['-device', 'pvscsi,id=scsi', '-device', 'scsi-hd,bus=scsi.0,drive=root', '-device', 'vmxnet3'];
  const qemu = spawn('qemu-system-x86_64', [...MACHINE, ...devices, '-drive', disk], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(qemu, 'exit');
  let text = '';
  for await (const part of qemu.stdout) {
    text += part;
    if (says.test(text)) break;
  }
  qemu.kill('SIGKILL');
  await ended;
  return text;
};

const missing = noSimulator ?? (which('qemu-system-x86_64') ? null : 'there is no QEMU here');

describe.skipIf(missing)(`the disk that a vCenter was sent${missing === null ? '' : `: ${missing}`}`, () => {
  let vcenter: VcenterUnderTest;
  beforeAll(async () => {
    vcenter = await VcenterUnderTest.start();
  });
  afterAll(() => vcenter?.stop());

  it('boots by pvscsi when it is taken back, and so does one that was made from it', async () => {
    const driver = vcenter.open();
    const takeBack = async (name: string, disks = rootFrom(fileSource(vcenter.image), gib(1))) => {
      const { id } = await vcenter.running(driver, { disks });
      const { stream, format, virtualSize } = await driver.snapshots.exportDisk(id, 'root', 'vmdk', never);
      expect([format, virtualSize]).toEqual(['vmdk', 2 ** 30]);
      const file = join(vcenter.folder, name);
      await pipeline(stream, createWriteStream(file));
      await driver.destroy(id);
      return file;
    };
    const first = await takeBack('first.vmdk');
    expect(await boot(first, /is up/)).toContain('tiny guest is up');
    const second = await takeBack('second.vmdk', rootFrom(fileSource(first, 'vmdk')));
    expect(await boot(second, /is up/)).toContain('tiny guest is up');
    await driver.close();
  });
});
