import { execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { copyFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { ImageFormat } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type OneImage, startOneImage } from '../../../tools/image/one-image.js';
import { guestsTable } from './image/image.projection.js';

/** The rest of the ways to boot: `OMNIVISOR_BOOT_ALL=1`. */
const all = process.env.OMNIVISOR_BOOT_ALL === '1';
const OVMF = '/usr/share/OVMF';

/** One image, uploaded once, started by QEMU from the forms that other hypervisors take, with their kind of devices. */
describe('one image', () => {
  let folder = '';
  let one: OneImage;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'one-image-boots-'));
    one = await startOneImage();
  }, 300_000);
  afterAll(async () => {
    await one?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  const file = (form: ImageFormat) => one.file(form);
  /** What the guest says until it is up. */
  const boot = async (args: string[]): Promise<string> => {
    for (let left = 3; left > 0; left--) {
      const said = await bootOnce(args);
      if (said !== null) return said;
    }
    throw new Error('the emulator gets too little CPU for a kernel to start');
  };
  /** Null when the kernel missed the ticks of its timer, as it may where the emulator gets little CPU. */
  const bootOnce = async (args: string[], seconds = 150): Promise<string | null> => {
    const console = join(folder, 'console.log');
    await rm(console, { force: true });
    const common = [
      '-accel',
      'tcg',
      '-cpu',
      'max',
      '-nodefaults',
      '-no-user-config',
      '-display',
      'none',
      '-vga',
      'std',
    ];
    const child = spawn('qemu-system-x86_64', [...common, '-serial', `file:${console}`, ...args], { stdio: 'ignore' });
    const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    try {
      for (const deadline = Date.now() + seconds * 1_000; Date.now() < deadline; await pause(100)) {
        const text = existsSync(console) ? await readFile(console, 'utf8') : '';
        if (/finished: Datasource/.test(text)) return text;
        if (/Kernel panic - not syncing: IO-APIC \+ timer doesn't work/.test(text)) return null;
        if (child.exitCode !== null) throw new Error(`QEMU ended: ${text.slice(-2_000)}`);
      }
      throw new Error(`the guest did not come up: ${(await readFile(console, 'utf8')).slice(-2_000)}`);
    } finally {
      child.kill('SIGKILL');
      await exited;
    }
  };
  const drive = (driver: string, path: string) =>
    `if=none,id=root,snapshot=on,driver=${driver},file.driver=file,file.filename=${path}`;
  const uefi = async (variables = 'OVMF_VARS_4M.fd', code = 'OVMF_CODE_4M.fd') => {
    await copyFile(join(OVMF, variables), join(folder, 'vars.fd'));
    return [
      ...['-drive', `if=pflash,format=raw,unit=0,readonly=on,file=${join(OVMF, code)}`],
      ...['-drive', `if=pflash,format=raw,unit=1,file=${join(folder, 'vars.fd')}`],
    ];
  };

  it('is known to start on every hypervisor', async () => {
    const { cloud, image } = one;
    await cloud.guests!.idle();
    const found = await (await cloud.core.fresh()).get(guestsTable, image.id);
    expect(found?.guest).toMatchObject({ partitions: 'gpt', firmware: ['bios', 'uefi', 'secure-boot'], unknown: null });
    for (const kind of ['qemu', 'xen', 'xenserver', 'vsphere', 'hyperv'] as const)
      expect(found?.readiness[kind]).toEqual({ verdict: 'boots', reason: null });
  });

  it('boots as VHD by BIOS from IDE, as a machine of generation 1 does', async () => {
    const said = await boot([
      ...['-M', 'pc', '-m', '256', '-drive', drive('vpc', await file('vhd')), '-device', 'ide-hd,drive=root'],
    ]);
    expect(said).toMatch(/firmware=bios/);
    expect(said).toMatch(/disk sda \d+ bytes driver=sd/);
  }, 200_000);

  it.runIf(existsSync(join(OVMF, 'OVMF_CODE_4M.fd')))(
    'boots as VHDX by UEFI from SCSI, as a machine of generation 2 does',
    async () => {
      const said = await boot([
        ...['-M', 'q35,sata=off', '-m', '384', ...(await uefi()), '-drive', drive('vhdx', await file('vhdx'))],
        ...['-device', 'virtio-scsi-pci', '-device', 'scsi-hd,drive=root'],
      ]);
      expect(said).toMatch(/firmware=uefi/);
    },
    200_000,
  );

  const onVmware = async (form: 'vmdk' | 'vmdk-sparse') => {
    const said = await boot([
      ...['-M', 'pc', '-m', '256', '-drive', drive('vmdk', await file(form))],
      ...['-device', 'pvscsi', '-device', 'scsi-hd,drive=root', '-nic', 'none', '-device', 'vmxnet3'],
    ]);
    expect(said).toMatch(/nic eth0 \S+ driver=vmxnet3/);
  };
  it('boots as stream-optimized VMDK from the devices of VMware', () => onVmware('vmdk'), 200_000);
  it.runIf(all)('boots as sparse VMDK from the devices of VMware', () => onVmware('vmdk-sparse'), 200_000);

  it.runIf(all)(
    'boots as VHDX with secure boot',
    async () => {
      const said = await boot([
        ...['-M', 'q35,smm=on,sata=off', '-m', '512', '-global', 'driver=cfi.pflash01,property=secure,value=on'],
        ...(await uefi('OVMF_VARS_4M.ms.fd', 'OVMF_CODE_4M.ms.fd')),
        ...['-drive', drive('vhdx', await file('vhdx')), '-device', 'virtio-scsi-pci', '-device', 'scsi-hd,drive=root'],
      ]);
      expect(said).toMatch(/firmware=uefi-secureboot/);
    },
    300_000,
  );

  it.runIf(all)(
    'boots as a set of machine image, kernel and RAM disk',
    async () => {
      const [disk, kernel, ramDisk] = [await file('ami'), await file('aki'), await file('ari')];
      const said = await boot([
        ...[
          '-M',
          'pc',
          '-m',
          '256',
          '-kernel',
          kernel,
          '-initrd',
          ramDisk,
          '-append',
          'console=ttyS0 quiet net.ifnames=0',
        ],
        ...['-drive', drive('raw', disk), '-device', 'virtio-blk-pci,drive=root'],
      ]);
      expect(said).toMatch(/disk vda \d+ bytes driver=virtio_blk/);
    },
    300_000,
  );

  it.runIf(all)(
    'boots as fixed VHD and as the VMDK of its OVA',
    async () => {
      const fixed = await file('vhd-fixed');
      await boot([...['-M', 'pc', '-m', '256', '-drive', drive('vpc', fixed), '-device', 'ide-hd,drive=root']]);
      const ova = await file('ova');
      await promisify(execFile)('tar', ['-xf', ova, '-C', folder]);
      const disk = join(folder, 'disk.vmdk');
      await boot([...['-M', 'pc', '-m', '256', '-drive', drive('vmdk', disk), '-device', 'ide-hd,drive=root']]);
    },
    300_000,
  );
});
