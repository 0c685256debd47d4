import { gib, mib, ServerId } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import { fileSource, tapNic, testGuest } from '../common/test-guest.js';
import { type GuestSpec, HypervisorError } from '../hypervisor-driver.js';
import { hardwareFor, memoryFor, wireFor } from './hardware.js';

const id = ServerId.parse('0c2c7a4e-52a3-4b8e-8f4d-000000000001');
const guest = (properties: Record<string, string>, change: Partial<GuestSpec> = {}): GuestSpec => {
  const spec = testGuest(id, 'cloud', change);
  return { ...spec, image: { ...spec.image, properties } };
};
const unsupported = expect.objectContaining({ code: 'unsupported' });

describe('the hardware of a guest', () => {
  it.each([
    [{}, { generation: 1, secureBoot: null }],
    [{ hw_firmware_type: 'uefi' }, { generation: 2, secureBoot: null }],
    [{ hw_machine_type: 'hyperv-gen2' }, { generation: 2, secureBoot: null }],
    [{ os_secure_boot: 'required' }, { generation: 2, secureBoot: 'MicrosoftUEFICertificateAuthority' }],
    [
      { os_secure_boot: 'required', os_type: 'windows' },
      { generation: 2, secureBoot: 'MicrosoftWindows' },
    ],
    [
      { hw_disk_bus: 'ide', hw_vif_model: 'netvsc' },
      { generation: 1, secureBoot: null },
    ],
  ])('is what its image asks for: %o', (properties, expected) => {
    expect(hardwareFor(guest(properties), 1)).toEqual(expected);
  });

  it('is of the configured generation when the image does not say', () => {
    expect(hardwareFor(guest({}), 2).generation).toBe(2);
  });

  it.each([
    { hw_machine_type: 'q35' },
    { hw_firmware_type: 'coreboot' },
    { hw_machine_type: 'hyperv-gen1', hw_firmware_type: 'uefi' },
    { hw_machine_type: 'hyperv-gen1', os_secure_boot: 'required' },
    { hw_disk_bus: 'virtio' },
    { hw_disk_bus: 'scsi', hw_firmware_type: 'bios' },
    { hw_vif_model: 'virtio' },
    { hw_architecture: 'aarch64' },
    { hw_vm_mode: 'xen' },
    { hw_tpm_version: '2.0' },
  ])('is refused when it cannot be served: %o', (properties: Record<string, string>) => {
    expect(() => hardwareFor(guest(properties), 1)).toThrow(unsupported);
  });

  it('is refused with formatted disks, a kernel of its own, or dedicated processors', () => {
    const { disks, flavor } = testGuest(id, 'cloud');
    const changes: Partial<GuestSpec>[] = [
      { disks: { ...disks, swap: mib(64) } },
      { disks: { ...disks, ephemeral: { size: gib(1), source: null } } },
      { directBoot: { kernel: fileSource('/kernel'), ramdisk: null, commandLine: '' } },
      { flavor: { ...flavor, extraSpecs: { 'hw:cpu_policy': 'dedicated' } } },
    ];
    for (const change of changes) expect(() => hardwareFor(guest({}, change), 1)).toThrow(unsupported);
  });
});

describe('memory', () => {
  it('is all there from the start, in steps of 2 MiB', () => {
    expect(memoryFor(mib(513), 1)).toEqual({ startup: 514, dynamic: null });
  });
  it('starts with its share and grows to what was bought', () => {
    expect(memoryFor(mib(1024), 2)).toEqual({ startup: 512, dynamic: { minimum: 512, maximum: 1024 } });
  });
});

describe('where a port ends', () => {
  const attachment = { kind: 'provider', networkType: 'vlan', physicalNetwork: 'physnet1', segmentationId: 7 } as const;
  const nic = { ...tapNic('port', 'tap'), attachment };
  it('is the switch of its physical network, and its VLAN', () => {
    expect(wireFor(nic, { physnet1: 'External' })).toEqual({ switch: 'External', vlan: 7 });
    const flat = { ...nic, attachment: { ...attachment, networkType: 'flat' as const, segmentationId: null } };
    expect(wireFor(flat, { physnet1: 'External' })).toEqual({ switch: 'External', vlan: null });
  });
  it('is refused without a mapping, for a tap, and for a foreign model', () => {
    const words = 'Hyper-V cannot serve a physical network that is mapped to no switch';
    expect(() => wireFor(nic, {})).toThrow(new HypervisorError('unsupported', words, 'physnet1'));
    expect(() => wireFor(tapNic('port', 'tap'), { physnet1: 'External' })).toThrow(unsupported);
    expect(() => wireFor({ ...nic, model: 'virtio' }, { physnet1: 'External' })).toThrow(unsupported);
  });
});
