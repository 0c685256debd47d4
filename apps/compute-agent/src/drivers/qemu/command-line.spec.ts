import { ServerId } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import { argumentsFor } from './command-line.js';
import { GuestDefinition } from './definition.js';

const id = ServerId.parse('0c2c7a4e-52a3-4b8e-8f4d-000000000001');
const guest = (change: Partial<GuestDefinition> = {}): GuestDefinition => ({
  mark: { cloudId: 'cloud', serverId: id, attempt: 3, build: 0 },
  phase: 'spawned',
  vcpus: 2,
  memoryMib: 512,
  machine: 'pc-i440fx-7.2',
  firmware: 'bios',
  diskBus: 'virtio',
  nicModel: 'virtio-net-pci',
  video: 'VGA',
  disks: [{ file: 'disk.qcow2', format: 'qcow2', serial: 'root' }],
  cdroms: [{ file: 'disk.config', boot: false }],
  nics: [{ portId: 'p', mac: 'fa:16:3e:00:00:01', mtu: 1450, tap: 'tap-a', netns: 'net', model: null }],
  ...change,
});
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

  it('say the format of each drive, and write to no CD', () => {
    const drives = argumentsFor(guest(), { accel: 'tcg', cpuModel: 'max', runAs: null })
      .filter((argument) => argument.startsWith('{'))
      .map((argument) => JSON.parse(argument));
    expect(drives.map((drive) => [drive.driver, drive['read-only'], drive.file.driver])).toEqual([
      ['qcow2', false, 'file'],
      ['raw', true, 'file'],
    ]);
  });

  it('put disks on the bus that was chosen', () => {
    expect(line()).toContain('virtio-blk-pci,drive=disk0,id=dev-disk0,serial=root,bootindex=1');
    expect(line({ diskBus: 'scsi' })).toContain('virtio-scsi-pci,id=scsi0 -blockdev');
    expect(line({ diskBus: 'ide' })).toContain('ide-hd,bus=ide.0,unit=0');
    expect(line({ diskBus: 'ide' })).toContain('ide-cd,bus=ide.0,unit=1');
    expect(line({ machine: 'pc-q35-7.2', diskBus: 'sata' })).toContain('ide-hd,bus=ide.0,drive');
    expect(line({ machine: 'pc-q35-7.2' })).toContain('scsi-cd,bus=scsi0.0');
  });

  it('boot from an ISO before the empty disk', () => {
    const text = line({ cdroms: [{ file: 'base.img', boot: true }] });
    expect(text).toContain('ide-cd,bus=ide.0,unit=0,drive=cd0,id=dev-cd0,bootindex=1');
    expect(text).not.toContain('serial=root,bootindex');
  });

  it('give firmware its own variables', () => {
    expect(line({ firmware: 'secureBoot', machine: 'pc-q35-7.2' })).toMatch(
      /smm=on.*secure,value=on.*readonly=on.*firmware\.vars/,
    );
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
