import { execFileSync, spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ms, ServerId } from '@omnivisor/contracts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { tapNic } from '../common/test-guest.js';
import type { GuestNic, GuestSpec } from '../hypervisor-driver.js';
import type { GuestDefinition } from './definition.js';
import { QemuDriver } from './qemu.driver.js';
import { CLOUD, TinyGuests } from './testing/tiny-guests.js';

type Said = Record<string, string>;

const never = new AbortController().signal;
const hasTpm = spawnSync('swtpm', ['--version']).status === 0;
const isRoot = process.getuid?.() === 0;
const TPM = { 'hw:tpm_version': '2.0' };
const WATCHDOG = { 'hw:watchdog_action': 'pause' };
const REQUIRED = { 'os:secure_boot': 'required' };
const unsupported = { code: 'unsupported' };

describe('the hardware of guests of QEMU', () => {
  let stateDir: string;
  let driver: QemuDriver;
  let tiny: TinyGuests;
  let spec: GuestSpec;
  let id: ServerId;
  const file = (name: string) => join(stateDir, 'guests', id, name);
  const defined = (): GuestDefinition => JSON.parse(readFileSync(file('guest.json'), 'utf8'));
  const pid = () => readFileSync(file('qemu.pid'), 'utf8').trim();
  const command = () => readFileSync(`/proc/${pid()}/cmdline`, 'utf8').replaceAll('\0', ' ');
  const flavor = (extraSpecs: Said) => ({ ...spec.flavor, extraSpecs });
  const spawn = (change: Partial<GuestSpec> = {}) => driver.spawn({ ...spec, powerOn: false, ...change }, never);
  const resize = (extraSpecs: Said) => driver.resizing.resize(id, flavor(extraSpecs), never);
  const { revertResize, confirmResize } = {
    revertResize: () => driver.resizing.revertResize(id),
    confirmResize: () => driver.resizing.confirmResize(id),
  };
  /** As if the agent had ended in the middle. */
  const interrupt = (change: GuestDefinition['change']) =>
    writeFileSync(file('guest.json'), JSON.stringify({ ...defined(), change }));

  beforeEach(() => {
    stateDir = mkdtempSync(join(tmpdir(), 'omnivisor-hardware-'));
    tiny = new TinyGuests([stateDir]);
    id = ServerId.parse(randomUUID());
    spec = tiny.spec(id);
    driver = new QemuDriver({ stateDir, cloudId: CLOUD, accel: 'tcg', answerTimeout: 2_000 });
  });
  afterEach(async () => {
    await driver.destroy(id);
    await driver.close();
    rmSync(stateDir, { recursive: true });
  });

  describe('after a resize', () => {
    it('is that of the new flavor, and twice is once', async () => {
      await spawn();
      for (let i = 0; i < 2; i++) await resize(WATCHDOG);
      await expect(resize({})).rejects.toMatchObject({ code: 'fault' });
      await driver.powerOn(id, []);
      expect(command()).toContain('-action watchdog=pause');
      await confirmResize();
      await driver.powerOff(id, ms(0));
      await resize({});
      await driver.powerOn(id, []);
      expect(command()).not.toContain('watchdog');
    });

    it('is as before once it is reverted', async () => {
      await spawn();
      await resize(WATCHDOG);
      await revertResize();
      expect(defined()).toMatchObject({ watchdog: null, before: null, wishes: { extraSpecs: {} } });
    });

    it('is as before where the agent ended in the middle, and of the new flavor when that is asked again', async () => {
      await spawn();
      await resize(WATCHDOG);
      interrupt('resize');
      await driver.powerOn(id, []);
      expect(command()).not.toContain('watchdog');
      await driver.powerOff(id, ms(0));
      await resize(WATCHDOG);
      interrupt('resize');
      await resize(WATCHDOG);
      expect(defined()).toMatchObject({ watchdog: 'pause', change: null, before: { devices: { watchdog: null } } });
      interrupt('revert');
      await driver.powerOn(id, []);
      expect(command()).not.toContain('watchdog');
    });

    it('keeps what an older agent has made of the guest', async () => {
      await spawn({ flavor: flavor(WATCHDOG) });
      writeFileSync(file('guest.json'), JSON.stringify({ ...defined(), watchdog: 'reset', machine: 'pc-i440fx-6.0' }));
      await resize({ ...WATCHDOG, 'quota:cpu_shares': '9' });
      expect(defined()).toMatchObject({ watchdog: 'reset', machine: 'pc-i440fx-6.0' });
      const { devices: _, ...before } = defined().before!;
      writeFileSync(file('guest.json'), JSON.stringify({ ...defined(), before }));
      await revertResize();
      expect(defined()).toMatchObject({ watchdog: 'reset', machine: 'pc-i440fx-6.0' });
    });

    it('has no other firmware: that is refused, and nothing is changed', async () => {
      await spawn({ powerOn: true });
      const before = defined();
      await expect(resize(REQUIRED)).rejects.toMatchObject(unsupported);
      expect(defined()).toEqual(before);
      expect((await driver.inspect(id)).power).toBe('running');
    });

    it('has the state of its TPM again when one that was taken away comes back, and lets go of it else', async () => {
      await spawn({ flavor: flavor(TPM) });
      mkdirSync(file('tpm'));
      writeFileSync(file('tpm/state'), 'sealed');
      await resize({});
      expect(defined().tpm).toBeNull();
      await driver.powerOn(id, []);
      expect(command()).not.toContain('tpmdev');
      await driver.powerOff(id, ms(0));
      await revertResize();
      expect(defined().tpm).toBe('tpm-tis');
      expect(readFileSync(file('tpm/state'), 'utf8')).toBe('sealed');
      await resize({});
      const resized = readFileSync(file('guest.json'), 'utf8');
      await confirmResize();
      expect(existsSync(file('tpm'))).toBe(false);
      writeFileSync(file('guest.json'), resized);
      await confirmResize();
      expect(existsSync(file('tpm'))).toBe(false);
    });

    it('gets no TPM where none can be emulated: that is refused, and nothing is changed', async () => {
      await spawn();
      const { PATH } = process.env;
      const folder = join(stateDir, 'bin');
      mkdirSync(folder);
      for (const tool of ['qemu-system-x86_64', 'qemu-img', 'perl', 'ip'])
        symlinkSync(execFileSync('which', [tool], { encoding: 'utf8' }).trim(), join(folder, tool));
      const before = defined();
      process.env.PATH = folder;
      try {
        await expect(resize(TPM)).rejects.toMatchObject(unsupported);
      } finally {
        process.env.PATH = PATH;
      }
      expect(defined()).toEqual(before);
    });

    it.runIf(hasTpm)('gets a TPM that is empty, and is without it once it is reverted', async () => {
      await spawn();
      mkdirSync(file('tpm'));
      writeFileSync(file('tpm/of-another'), '');
      for (let i = 0; i < 2; i++) {
        await resize(TPM);
        expect(existsSync(file('tpm'))).toBe(false);
        await driver.powerOn(id, []);
        expect(command()).toContain('-device tpm-tis,tpmdev=tpm');
        expect(readdirSync(file('tpm'))).toContain('tpm2-00.permall');
        await driver.powerOff(id, ms(0));
        await revertResize();
        expect(defined().tpm).toBeNull();
        expect(existsSync(file('tpm'))).toBe(false);
      }
    });
  });

  describe('during a rescue', () => {
    const rescue = (properties: Said, nics: readonly GuestNic[] = []) =>
      driver.rescuing.rescue({ ...spec, nics, image: { ...spec.image, properties } }, never);
    const followed = {
      hw_video_model: 'cirrus',
      hw_pointer_model: 'usbtablet',
      hw_watchdog_action: 'reset',
      hw_disk_bus: 'scsi',
    };
    const FOLLOWED = /cirrus-vga.*"driver":"scsi-hd","id":"dev-rescue".*usb-tablet.*watchdog=reset/;
    const OWN = /cirrus|usb-tablet|watchdog|dev-rescue/;

    it('follows the rescue image, over power cycles too, and is its own after that', async () => {
      await spawn();
      const before = defined();
      await rescue(followed);
      expect(command()).toMatch(FOLLOWED);
      await driver.reboot(id, 'hard', []);
      expect(command()).toMatch(FOLLOWED);
      await driver.rescuing.unrescue(id, []);
      expect(command()).not.toMatch(OWN);
      expect(defined()).toEqual({ ...before, windows: false });
    });

    it('is its own where the agent ended in the middle, and where the rescue fails', async () => {
      await spawn();
      await rescue(followed);
      interrupt('rescue');
      await driver.powerOn(id, []);
      expect(command()).not.toMatch(OWN);
      await expect(rescue(followed, [tapNic('p', 'no-such-tap')])).rejects.toMatchObject({ code: 'fault' });
      await driver.powerOn(id, []);
      expect(command()).not.toMatch(OWN);
    });

    it.runIf(isRoot)('has network interfaces that the rescue image knows', async () => {
      const netns = `omv-hardware-${process.pid}`;
      const nics = [tapNic('port', 'taph', { attachment: { kind: 'tap', tap: 'taph', netns } })];
      execFileSync('ip', ['netns', 'add', netns]);
      try {
        execFileSync('ip', ['-n', netns, 'tuntap', 'add', 'dev', 'taph', 'mode', 'tap']);
        await spawn({ nics });
        await rescue({ hw_vif_model: 'e1000' }, nics);
        expect(command()).toContain('"driver":"e1000","id":"dev-net-port"');
        await driver.reboot(id, 'hard', nics);
        expect(command()).toContain('"driver":"e1000","id":"dev-net-port"');
        await driver.rescuing.unrescue(id, nics);
        expect(command()).toContain('"driver":"virtio-net-pci","id":"dev-net-port"');
      } finally {
        await driver.destroy(id);
        execFileSync('ip', ['netns', 'delete', netns]);
      }
    });

    it('has no other firmware: that is refused, and the guest runs on', async () => {
      await spawn({ powerOn: true });
      const [before, process] = [defined(), pid()];
      await expect(rescue({ hw_firmware_type: 'uefi' })).rejects.toMatchObject({
        ...unsupported,
        message: expect.stringContaining('hw_firmware_type=uefi'),
      });
      expect([defined(), pid()]).toEqual([before, process]);
    });

    it('is the same with its own image, whatever that says', async () => {
      const properties = {
        hw_machine_type: 'q35',
        hw_scsi_model: 'vmpvscsi',
        hw_disk_bus: 'sata',
        hw_cpu_sockets: '1',
      };
      const image = { ...spec.image, properties };
      await spawn({ image });
      await rescue(properties);
      expect(command()).toMatch(/pc-q35.*"driver":"ide-hd","id":"dev-rescue"/);
    });
  });
});
