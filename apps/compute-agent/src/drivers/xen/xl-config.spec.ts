import { ServerId } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import type { Definition } from './definition.js';
import { deviceNumber, diskSpec, freeDevice, text, xlConfig } from './xl-config.js';

const id = ServerId.parse('6f1ee2f0-0c5c-4a8e-9d7b-111111111111');
const guest: Definition = {
  ...{ cloudId: 'cloud', serverId: id, attempt: 1, build: 0, stage: 'settled', type: 'pv' },
  size: { vcpus: 2, memory: 512, disk: 1 },
  boot: { root: 'root.raw', kernel: null, ramdisk: null, commandLine: '' },
  ...{ ephemeral: null, swap: null, config: 'config.iso', rescue: null, before: null, rebuilding: null },
  ...{ adopted: null, shared: null },
  nics: [
    {
      portId: '00000000-0000-4000-8000-000000000001',
      mac: 'fa:16:3e:00:00:01',
      mtu: 1400,
      bridge: 'xenbr0.42',
      zone: 43,
      guard: null,
    },
  ],
  disks: [{ diskId: 'v', path: '/dev/vg/v,1', device: 'xvde', readOnly: true }],
};

describe('the configuration of a domain', () => {
  it('has the guest, its disks in their places and its interfaces', () => {
    expect(xlConfig(guest, '/g').split('\n')).toEqual([
      ...[`name = "${id}"`, `uuid = "${id}"`, 'type = "pv"', 'memory = 512', 'maxmem = 512', 'vcpus = 2'],
      'disk = ["format=raw,vdev=xvda,access=rw,target=/g/root.raw", ' +
        '"format=raw,vdev=xvde,access=ro,target=/dev/vg/v,1", "format=raw,vdev=xvdz,access=ro,target=/g/config.iso"]',
      'vif = ["mac=fa:16:3e:00:00:01,bridge=xenbr0.42,vifname=ov0000000000004,mtu=1400"]',
      ...['on_poweroff = "destroy"', 'on_reboot = "restart"', 'on_watchdog = "restart"', 'on_crash = "preserve"'],
      ...['bootloader = "pygrub"', ''],
    ]);
  });

  it('of an adopted guest has its own name, files and interfaces, wherever our folder is', () => {
    const boot = { root: 'r.raw', kernel: 'k.kernel', ramdisk: null, commandLine: '' };
    const files = { 'r.raw': '/dev/vg/root', 'k.kernel': '/boot/theirs' };
    const adopted = { uuid: 'a-uuid', name: 'theirs', files, nics: ['mac=00:16:3e:00:00:01,bridge=br9'] };
    const config = xlConfig({ ...guest, boot, adopted }, '/g');
    for (const part of ['name = "theirs"', 'uuid = "a-uuid"', 'target=/dev/vg/root"', 'kernel = "/boot/theirs"'])
      expect(config).toContain(part);
    expect(config).toMatch(/^vif = .*fa:16:3e.*"mac=00:16:3e:00:00:01,bridge=br9"\]$/m);
  });

  it('starts a kernel that lies beside the disk', () => {
    const boot = { root: 'root.raw', kernel: 'a.kernel', ramdisk: 'a.ramdisk', commandLine: 'root=/dev/xvda a="b c"' };
    const config = xlConfig({ ...guest, type: 'pvh', boot }, '/g');
    expect(config).toContain('type = "pvh"\n');
    expect(config).toContain(`kernel = "/g/a.kernel"\nramdisk = "/g/a.ramdisk"\ncmdline = 'root=/dev/xvda a="b c"'\n`);
    expect(config).not.toContain('bootloader');
  });

  it('starts the rescue image, with the own root beside it', () => {
    const boot = { root: 'rescue.raw', kernel: null, ramdisk: null, commandLine: '' };
    const config = xlConfig({ ...guest, rescue: { type: 'hvm', boot, config: null } }, '/g');
    expect(config).toContain(
      'vdev=xvda,access=rw,target=/g/rescue.raw", "format=raw,vdev=xvdb,access=rw,target=/g/root.raw',
    );
    expect(config).toContain('serial = "pty"');
    expect(config).toContain(',mtu=1400,type=vif"]');
    expect(config).not.toContain('bootloader');
  });

  it.each(['a\nkernel = "/x"', 'a"\'b', 'back\\slash', 'ü', '\0'])(
    'holds no text that would end itself: %j',
    (value) => {
      expect(() => text(value)).toThrow('characters that xl cannot read');
    },
  );

  it.each(['relative', '/a\nb', ''])('names no disk at %j', (path) => {
    expect(() => diskSpec(path, 'xvde')).toThrow('no path that xl can read');
  });
});

describe('places of disks', () => {
  it('are counted as Xen does', () => {
    expect(['xvda', 'xvdb', 'xvdp', 'xvdq'].map(deviceNumber)).toEqual([51712, 51728, 51952, (1 << 28) | (16 << 8)]);
  });

  it('are the first free one, and come to an end', () => {
    expect(freeDevice(guest.disks)).toBe('xvdf');
    const all = [...'efghijklmnopqrstuvwxy'].map((letter) => ({ ...guest.disks[0]!, device: `xvd${letter}` }));
    expect(() => freeDevice(all)).toThrow('no place');
  });
});
