import { ServerId } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import { argumentsFor } from './command-line.js';
import { GuestDefinition } from './definition.js';

const id = ServerId.parse('0c2c7a4e-52a3-4b8e-8f4d-000000000001');
const guest = (change: Partial<GuestDefinition> = {}): GuestDefinition => ({
  mark: { cloudId: 'cloud', serverId: id, attempt: 3, build: 0 },
  name: 'first',
  phase: 'spawned',
  change: null,
  suspended: false,
  vcpus: 2,
  memoryMib: 512,
  topology: { sockets: 2, cores: 1, threads: 1 },
  hugePages: null,
  limits: {},
  machine: 'pc-i440fx-7.2',
  firmware: 'bios',
  diskBus: 'virtio',
  scsiController: 'virtio-scsi-pci',
  cdromBus: 'ide',
  nicModel: 'virtio-net-pci',
  video: 'VGA',
  tablet: false,
  watchdog: null,
  tpm: null,
  hasAgent: false,
  disks: [
    {
      name: 'root',
      file: 'disks/disk.qcow2',
      format: 'qcow2',
      base: { file: 'disks/base.img', format: 'qcow2' },
      size: 1 << 30,
      serial: 'root',
      slot: 1,
    },
  ],
  attached: [],
  cdroms: [{ file: 'disks/config.iso', boot: false }],
  nics: [
    { portId: 'p', mac: 'fa:16:3e:00:00:01', mtu: 1450, tap: 'tap-a', netns: 'net', model: 'virtio-net-pci', slot: 4 },
  ],
  directBoot: null,
  rescue: null,
  before: null,
  adopted: null,
  shared: false,
  wishes: { properties: {}, extraSpecs: {} },
  ...change,
});
const q35 = { machine: 'pc-q35-7.2', cdromBus: 'scsi' } as const;
const attached: GuestDefinition['attached'][number] = {
  diskId: 'volume-1',
  connection: { kind: 'file', path: '/volumes/1' },
  format: 'raw',
  readOnly: true,
  bus: 'virtio',
  serial: 'volume-1',
  bootIndex: 1,
  slot: 5,
};
const line = (change: Partial<GuestDefinition> = {}, execution = {}) =>
  argumentsFor(guest(change), { accel: 'tcg', cpuModel: 'max', runAs: 1879048193, ...execution }).join(' ');

describe('the arguments of QEMU', () => {
  it('name the guest, halt its CPUs, and keep the process after its guest has shut down', () => {
    expect(line()).toContain(`-name guest=cloud/${id}/3 -uuid ${id}`);
    for (const argument of ['-S', '-no-shutdown', '-nodefaults', '-no-user-config'])
      expect(line()).toContain(` ${argument} `);
  });

  it('let go of root, and filter system calls', () => {
    expect(line()).toContain('-sandbox on,obsolete=deny,spawn=deny,resourcecontrol=deny -runas 1879048193:1879048193');
    expect(line({}, { runAs: null })).not.toContain('-runas');
  });

  it('differ between KVM and TCG in accelerator and CPU only', () => {
    const [tcg, kvm] = [line(), line({}, { accel: 'kvm', cpuModel: 'host' })];
    expect(kvm).toBe(tcg.replace('-accel tcg,thread=multi,tb-size=64 -cpu max', '-accel kvm -cpu host'));
  });

  it('give Windows its clock, and under KVM the enlightenments that it looks for', () => {
    expect(line()).toContain('-rtc base=utc -');
    const tcg = line({ windows: true });
    expect(tcg).toContain('-rtc base=localtime,driftfix=slew -');
    expect(tcg).toContain('-cpu max -');
    expect(line({ windows: true }, { accel: 'kvm', cpuModel: 'host' })).toContain(
      '-cpu host,hv_relaxed=on,hv_vapic=on,hv_spinlocks=0x1fff,hv_time=on -',
    );
  });

  const nodes = (change: Partial<GuestDefinition> = {}) => {
    const all = argumentsFor(guest(change), { accel: 'tcg', cpuModel: 'max', runAs: null });
    return all.flatMap((argument, i) => (all[i - 1] === '-blockdev' ? [JSON.parse(argument)] : []));
  };

  it('say the format of each drive and what lies under it, and write to no CD', () => {
    expect(nodes()).toMatchObject([
      {
        driver: 'qcow2',
        'read-only': false,
        file: { driver: 'file', filename: 'disks/disk.qcow2' },
        backing: { driver: 'qcow2', 'read-only': true, file: { filename: 'disks/base.img' }, backing: null },
      },
      { driver: 'raw', 'read-only': true, file: { driver: 'file', filename: 'disks/config.iso' } },
    ]);
    const alone = { ...guest().disks[0]!, base: null };
    expect(nodes({ disks: [alone] })[0]).toMatchObject({ driver: 'qcow2', backing: null });
    expect(nodes({ attached: [attached] })[2]).toMatchObject({ driver: 'raw', 'read-only': true });
    for (const format of ['qcow2', 'vmdk'] as const)
      expect(nodes({ attached: [{ ...attached, format }] })[2]).toMatchObject({ driver: format, backing: null });
  });

  it('put disks on the bus that was chosen', () => {
    expect(line()).toContain('"driver":"virtio-blk-pci","id":"dev-root","drive":"root","bus":"pci.0","addr":"0xa"');
    expect(line({ diskBus: 'scsi' })).toContain('virtio-scsi-pci,id=scsi0,bus=pci.0,addr=0x3 -blockdev');
    expect(line({ diskBus: 'scsi', scsiController: 'pvscsi' })).toContain('-device pvscsi,id=scsi0');
    expect(line({ diskBus: 'ide' })).toContain(
      '"driver":"ide-hd","id":"dev-root","drive":"root","bus":"ide.0","unit":0',
    );
    expect(line({ diskBus: 'ide' })).toContain('"driver":"ide-cd","id":"dev-cd0","drive":"cd0","bus":"ide.0","unit":1');
    expect(line({ ...q35, diskBus: 'sata' })).toContain(
      '"driver":"ide-hd","id":"dev-root","drive":"root","bus":"ide.0"',
    );
    expect(line(q35)).toContain('"driver":"scsi-cd","id":"dev-cd0","drive":"cd0","bus":"scsi0.0"');
  });

  it('keep each device in its place, on q35 on a port that can be plugged', () => {
    expect(line({ attached: [attached] })).toContain('"bus":"pci.0","addr":"0xe","serial":"volume-1","bootindex":3');
    expect(line({ ...q35, attached: [attached] })).toContain('"bus":"port5","serial":"volume-1"');
    expect(line(q35).match(/pcie-root-port/g)).toHaveLength(16);
    expect(line()).not.toContain('pcie-root-port');
  });

  it('give network devices as descriptors', () => {
    expect(line()).toContain('-netdev tap,id=net-p,fd=10 -device {"driver":"virtio-net-pci","id":"dev-net-p"');
    expect(line()).not.toContain('tap-a');
  });

  it('boot from an ISO before the empty disk', () => {
    const text = line({ cdroms: [{ file: 'disks/base.img', boot: true }] });
    expect(text).toContain('"drive":"cd0","bus":"ide.0","unit":0,"bootindex":1');
    expect(text).not.toContain('"serial":"root","bootindex"');
  });

  it('boot the rescue disk first, with its own config drive, and show the root beside it', () => {
    const disk = { ...guest().disks[0]!, name: 'rescue' as const, file: 'rescue/disk.qcow2', serial: 'resc', slot: 0 };
    const text = line({ rescue: { disk, cdroms: [], bus: null, directBoot: null, own: null } });
    expect(text).toMatch(/"serial":"resc","bootindex":1.*"serial":"root","bootindex":2/);
    expect(text).not.toContain('config.iso');
    const other = line({ rescue: { disk, cdroms: [], bus: 'scsi', directBoot: null, own: null } });
    expect(other).toMatch(/id=scsi0.*"driver":"scsi-hd","id":"dev-rescue".*"driver":"virtio-blk-pci","id":"dev-root"/);
  });

  it('start a kernel directly when told so', () => {
    expect(line({ directBoot: { ramdisk: true, commandLine: 'console=ttyS0 quiet' } })).toContain(
      '-kernel disks/kernel -initrd disks/ramdisk -append console=ttyS0 quiet',
    );
  });

  it('lay out CPUs, pages and what else was asked for', () => {
    expect(line({ topology: { sockets: 1, cores: 2, threads: 1 } })).toContain('-smp 2,sockets=1,cores=2,threads=1');
    expect(line({ hugePages: 2048 })).toMatch(/memory-backend=ram0 .*memory-backend-memfd.*hugetlbsize=2048K/);
    expect(line({ hasAgent: true })).toContain('name=org.qemu.guest_agent.0');
    expect(line({ watchdog: 'reset' })).toContain('-action watchdog=reset');
    expect(line({ tpm: 'tpm-crb' })).toContain('-device tpm-crb,tpmdev=tpm');
    expect(line({ tablet: true })).toContain('-device usb-tablet');
  });

  it('give firmware its own variables', () => {
    expect(line({ firmware: 'secureBoot', ...q35 })).toMatch(/smm=on.*secure,value=on.*readonly=on.*firmware\.vars/);
    expect(line()).not.toContain('pflash');
  });
});

describe('a definition read from disk', () => {
  it.each([
    ['a device name with options in it', { nics: [{ ...guest().nics[0]!, tap: 'a,script=/x' }] }],
    ['a namespace that is a path', { nics: [{ ...guest().nics[0]!, netns: '../x' }] }],
    ['a namespace that is an option', { nics: [{ ...guest().nics[0]!, netns: '..' }] }],
    ['a cloud id with a comma', { mark: { ...guest().mark, cloudId: 'a,b' } }],
    ['no memory', { memoryMib: 0 }],
  ])('is refused with %s', (_what, change) => {
    expect(GuestDefinition.safeParse({ ...guest(), ...change }).success).toBe(false);
    expect(GuestDefinition.safeParse(guest()).success).toBe(true);
  });
});
