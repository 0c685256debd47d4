import { ServerId } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import { testGuest } from '../common/test-guest.js';
import { devicesFor } from './devices.js';

const machines = {
  pc: 'pc-i440fx-7.2',
  q35: 'pc-q35-7.2',
  all: new Set(['pc', 'q35', 'pc-i440fx-7.2', 'pc-i440fx-6.0', 'pc-q35-7.2', 'microvm']),
};
const base = testGuest(ServerId.parse('0c2c7a4e-52a3-4b8e-8f4d-000000000001'), 'cloud');
const devices = (properties: Record<string, string>, extraSpecs: Record<string, string> = {}) =>
  devicesFor({ ...base, image: { ...base.image, properties }, flavor: { ...base.flavor, extraSpecs } }, machines);

describe('the hardware of a guest', () => {
  it('is virtio on a versioned machine type, unless the image wants otherwise', () => {
    expect(devices({})).toEqual({
      machine: 'pc-i440fx-7.2',
      firmware: 'bios',
      diskBus: 'virtio',
      nicModel: 'virtio-net-pci',
      video: 'VGA',
    });
  });

  it.each([
    [{ hw_disk_bus: 'scsi' }, { diskBus: 'scsi' }],
    [
      { hw_disk_bus: 'sata', hw_machine_type: 'q35' },
      { diskBus: 'sata', machine: 'pc-q35-7.2' },
    ],
    [{ hw_vif_model: 'e1000' }, { nicModel: 'e1000' }],
    [{ hw_machine_type: 'pc-i440fx-6.0' }, { machine: 'pc-i440fx-6.0' }],
    [{ hw_firmware_type: 'uefi' }, { firmware: 'uefi', machine: 'pc-i440fx-7.2' }],
    [{ os_secure_boot: 'required' }, { firmware: 'secureBoot', machine: 'pc-q35-7.2' }],
    [{ hw_video_model: 'none' }, { video: null }],
    [{ os_type: 'linux', hw_architecture: 'x86_64' }, { diskBus: 'virtio' }],
  ])('honours %j', (properties, expected) => {
    expect(devices(properties as Record<string, string>)).toMatchObject(expected);
  });

  it.each([
    [{ hw_disk_bus: 'fdc' }],
    [{ hw_disk_bus: 'constructor' }],
    [{ hw_disk_bus: 'ide', hw_machine_type: 'q35' }],
    [{ hw_disk_bus: 'sata' }],
    [{ hw_vif_model: 'VirtualE1000' }],
    [{ hw_machine_type: 'microvm' }],
    [{ hw_machine_type: 'pc-i440fx-9.9' }],
    [{ hw_machine_type: 'pc,accel=kvm' }],
    [{ hw_architecture: 'aarch64' }],
    [{ hw_firmware_type: 'openbios' }],
    [{ os_secure_boot: 'required', hw_machine_type: 'pc' }],
    [{ hw_video_model: 'qxl' }],
  ])('refuses %j', (properties) => {
    expect(() => devices(properties as Record<string, string>)).toThrow(
      expect.objectContaining({ code: 'unsupported' }),
    );
  });

  it('refuses extra specs that would change what was bought, and lets others pass', () => {
    for (const extra of [{ 'hw:cpu_policy': 'dedicated' }, { 'hw:numa_nodes': '2' }, { 'hw:mem_page_size': 'large' }])
      expect(() => devices({}, extra as never)).toThrow(expect.objectContaining({ code: 'unsupported' }));
    for (const extra of [{ 'hw:cpu_policy': 'shared' }, { 'hw:numa_nodes': '1' }, { 'quota:cpu_shares': '10' }])
      expect(devices({}, extra as never).diskBus).toBe('virtio');
  });
});
