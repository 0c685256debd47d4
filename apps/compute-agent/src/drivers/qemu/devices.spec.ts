import { ServerId } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import { testGuest } from '../common/test-guest.js';
import { devicesFor, rescueBus, resizedDevices } from './devices.js';
import { rescueDevices } from './rescue-devices.js';
import { sizeOf } from './sizes.js';

const machines = {
  pc: 'pc-i440fx-7.2',
  q35: 'pc-q35-7.2',
  all: new Set(['pc', 'q35', 'pc-i440fx-7.2', 'pc-i440fx-6.0', 'pc-q35-7.2', 'microvm']),
};
const base = testGuest(ServerId.parse('0c2c7a4e-52a3-4b8e-8f4d-000000000001'), 'cloud');
type Said = Record<string, string>;
const devices = (properties: Record<string, string>, extraSpecs: Record<string, string> = {}) =>
  devicesFor({ ...base, image: { ...base.image, properties }, flavor: { ...base.flavor, extraSpecs } }, machines);

describe('the hardware of a guest', () => {
  it('is virtio on a versioned machine type, unless the image wants otherwise', () => {
    expect(devices({})).toEqual({
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
    [{ hw_scsi_model: 'vmpvscsi' }, { scsiController: 'pvscsi' }],
    [{ hw_cdrom_bus: 'scsi' }, { cdromBus: 'scsi' }],
    [{ hw_pointer_model: 'usbtablet' }, { tablet: true }],
    [{ hw_watchdog_action: 'poweroff' }, { watchdog: 'poweroff' }],
    [{ hw_tpm_version: '2.0', hw_tpm_model: 'tpm-crb' }, { tpm: 'tpm-crb' }],
    [{ hw_qemu_guest_agent: 'yes' }, { hasAgent: true }],
    [{ hw_rng_model: 'virtio' }, { diskBus: 'virtio' }],
    [{ os_type: 'windows' }, { windows: true }],
    [{ os_type: 'linux', hw_architecture: 'x86_64' }, { diskBus: 'virtio' }],
  ])('honours %j', (properties, expected) => {
    expect(devices(properties as Record<string, string>)).toMatchObject(expected);
  });

  it.each([
    [{ hw_disk_bus: 'fdc' }],
    [{ hw_disk_bus: 'constructor' }],
    [{ hw_disk_bus: 'ide', hw_machine_type: 'q35' }],
    [{ hw_disk_bus: 'sata' }],
    [{ hw_vif_model: 'virtuale1000' }],
    [{ hw_machine_type: 'microvm' }],
    [{ hw_machine_type: 'pc-i440fx-9.9' }],
    [{ hw_machine_type: 'pc,accel=kvm' }],
    [{ hw_architecture: 'aarch64' }],
    [{ hw_firmware_type: 'openbios' }],
    [{ os_secure_boot: 'required', hw_machine_type: 'pc' }],
    [{ hw_video_model: 'qxl' }],
    [{ hw_cdrom_bus: 'virtio' }],
    [{ hw_scsi_model: 'buslogic' }],
    [{ hw_tpm_version: '1.2' }],
    [{ hw_serial_port_count: '3' }],
    [{ hw_qemu_guest_agent: 'maybe' }],
    [{ hw_cpu_thread_policy: 'prefer' }],
    [{ hw_emulator_threads_policy: 'isolate' }],
    [{ hw_cpu_realtime: 'yes' }],
    [{ hw_mem_encryption: '1' }],
    [{ hw_viommu_model: 'intel' }],
  ])('refuses %j', (properties) => {
    expect(() => devices(properties as Record<string, string>)).toThrow(
      expect.objectContaining({ code: 'unsupported' }),
    );
  });

  it('lets the flavor decide where both may', () => {
    expect(devices({ hw_watchdog_action: 'reset' }, { 'hw:watchdog_action': 'pause' }).watchdog).toBe('pause');
    expect(devices({}, { 'hw:tpm_version': '2.0' }).tpm).toBe('tpm-tis');
  });

  it('refuses extra specs that would change what was bought, and lets others pass', () => {
    for (const extra of [
      { 'hw:cpu_policy': 'mixed' },
      { 'hw:numa_nodes': '2' },
      { 'hw:pmem': 'x' },
      { 'hw:cpu_realtime': 'on' },
      { 'hw:cpu_realtime_mask': '^0' },
      { 'hw:emulator_threads_policy': 'isolate' },
      { 'hw:mem_encryption': 'yes' },
      { 'hw:vif_multiqueue_enabled': '1' },
      { 'hw:serial_port_count': '2' },
      { 'quota:vif_inbound_average': '1' },
      { 'quota:vif_inbound_peak': '1' },
      { 'quota:vif_outbound_burst': '1' },
      { 'quota:memory_limit': '64' },
      { 'quota:disk_read_iops_sec_max': '9' },
      { 'accel:device_profile': 'gpu' },
    ])
      expect(() => devices({}, extra as never), JSON.stringify(extra)).toThrow(
        expect.objectContaining({ code: 'unsupported' }),
      );
    for (const extra of [
      { 'hw:cpu_policy': 'shared' },
      { 'hw:numa_nodes': '1' },
      { 'quota:cpu_shares': '10' },
      { 'hw:cpu_realtime': 'no' },
      { 'hw:emulator_threads_policy': 'share' },
      { 'quota:disk_read_iops_sec': '9' },
    ])
      expect(devices({}, extra as never).diskBus, JSON.stringify(extra)).toBe('virtio');
  });
});

describe('the hardware of a guest that is resized', () => {
  const BIOS = { firmware: 'bios', watchdog: null, tpm: null } as const;
  const resized = (guest: Parameters<typeof resizedDevices>[0], properties: Said, from: Said, to: Said) =>
    resizedDevices(guest, { properties, extraSpecs: from }, { properties, extraSpecs: to });

  it.each<[Said, Said, Said, object]>([
    [{}, {}, { 'hw:watchdog_action': 'reset' }, { watchdog: 'reset', tpm: null }],
    [{}, {}, { 'hw:tpm_version': '2.0' }, { watchdog: null, tpm: 'tpm-tis' }],
    [{}, {}, { 'hw:tpm_version': '2.0', 'hw:tpm_model': 'tpm-crb' }, { watchdog: null, tpm: 'tpm-crb' }],
    [{ hw_watchdog_action: 'pause' }, { 'hw:watchdog_action': 'reset' }, {}, { watchdog: 'pause', tpm: null }],
    [{}, { 'hw:watchdog_action': 'reset', 'hw:tpm_version': '2.0' }, {}, { watchdog: null, tpm: null }],
  ])('with the image %j is from %j to %j that of the new flavor', (properties, from, to, expected) => {
    const before = devices(properties, from);
    expect(resized(before, properties, from, to)).toEqual(expected);
  });

  it('stays as it is where both flavors ask for the same, whatever an older release made of it', () => {
    const kept = { firmware: 'bios', watchdog: 'poweroff', tpm: 'tpm-crb' } as const;
    const { firmware: _, ...stays } = kept;
    const image = { hw_watchdog_action: 'unheard of', hw_tpm_version: '2.0' };
    const same = { 'hw:watchdog_action': 'reset', 'os:secure_boot': 'required' };
    expect(resized(kept, image, {}, {})).toEqual(stays);
    expect(resized(kept, {}, same, { ...same, 'quota:cpu_shares': '9' })).toEqual(stays);
    expect(resized(kept, {}, {}, { 'hw:watchdog_action': 'disabled', 'hw:tpm_model': 'tpm-tis' })).toEqual(stays);
  });

  it('is refused where its firmware would be another', () => {
    const required = { 'os:secure_boot': 'required' };
    const refused = expect.objectContaining({ code: 'unsupported', message: expect.stringContaining('firmware') });
    for (const properties of [{}, { hw_firmware_type: 'uefi' }, { hw_firmware_type: 'uefi', hw_machine_type: 'q35' }])
      expect(() => resized(devices(properties as Said), properties as Said, {}, required)).toThrow(refused);
    expect(() => resized(devices({}, required), {}, required, {})).toThrow(refused);
    const image = { os_secure_boot: 'required' };
    for (const [from, to] of [[{}, required] as const, [required, {}] as const])
      expect(resized(devices(image), image, from as Said, to as Said).tpm).toBeNull();
    // An older release has let it pass.
    expect(resized(BIOS, {}, required, {})).toEqual({ watchdog: null, tpm: null });
  });

  it('is refused for what cannot be served', () => {
    for (const to of [{ 'hw:watchdog_action': 'bark' }, { 'hw:tpm_version': '2.0', 'hw:tpm_model': 'x' }])
      expect(() => resized(BIOS, {}, {}, to as never)).toThrow(expect.objectContaining({ code: 'unsupported' }));
  });
});

describe('the hardware of a guest that is rescued', () => {
  const rescued = (rescue: Said, own: Said = {}, extraSpecs: Said = {}, change = {}) => {
    const flavor = { ...base.flavor, vcpus: 2, extraSpecs };
    const guest = { ...devices(own, extraSpecs), wishes: { properties: own, extraSpecs }, ...change };
    return rescueDevices({ image: { ...base.image, properties: rescue }, flavor }, guest, machines);
  };

  it.each<[Said, object]>([
    [{ hw_vif_model: 'e1000' }, { nicModel: 'e1000' }],
    [{ hw_video_model: 'none' }, { video: null }],
    [{ hw_pointer_model: 'usbtablet' }, { tablet: true }],
    [{ hw_cdrom_bus: 'scsi' }, { cdromBus: 'scsi' }],
    [{ hw_watchdog_action: 'reset' }, { watchdog: 'reset' }],
    [{ hw_qemu_guest_agent: 'yes' }, { hasAgent: true }],
    [{ os_type: 'windows' }, { windows: true }],
  ])('follows its rescue image in %j', (properties, expected) => {
    expect(rescued(properties)).toEqual({ ...rescued({}), ...expected });
  });

  it('stays in what that does not say, or says as its own image did', () => {
    const own = { hw_vif_model: 'e1000', hw_video_model: 'cirrus', os_type: 'windows', hw_pointer_model: 'usbtablet' };
    const kept = { nicModel: 'e1000', video: 'cirrus-vga', windows: true, tablet: true };
    expect(rescued({}, own)).toMatchObject(kept);
    expect(rescued(own, own)).toMatchObject(kept);
    expect(rescued({ os_type: 'linux', hw_vif_model: 'virtio' }, own)).toMatchObject({
      ...kept,
      nicModel: 'virtio-net-pci',
      windows: false,
    });
    // An older release has let it pass.
    const older = { hw_viommu_model: 'intel', hw_firmware_type: 'uefi', hw_locked_memory: 'true' };
    expect(rescued(older, {}, {}, { wishes: { properties: older, extraSpecs: {} } })).toEqual(rescued({}));
  });

  it.each<[Said, Said]>([
    [{ hw_machine_type: 'q35' }, { hw_machine_type: 'pc-q35-7.2' }],
    [{ hw_machine_type: 'pc' }, { hw_machine_type: 'pc-i440fx-6.0' }],
    [{ hw_firmware_type: 'bios' }, {}],
    [{ hw_firmware_type: 'uefi' }, { os_secure_boot: 'required' }],
    [{ os_secure_boot: 'optional' }, {}],
    [{ hw_scsi_model: 'virtio-scsi' }, {}],
    [{ hw_tpm_version: '2.0' }, { hw_tpm_version: '2.0', hw_tpm_model: 'tpm-crb' }],
    [{ hw_tpm_model: 'tpm-crb' }, {}],
    [{ hw_cpu_sockets: '2' }, {}],
    [{ hw_cpu_max_sockets: '2', hw_cpu_policy: 'shared', hw_mem_page_size: 'small' }, {}],
    [{ hw_disk_bus: 'sata' }, {}],
  ])('goes on as it is with %j, which is what it is with %j', (rescue, own) => {
    const extraSpecs = { 'hw:mem_page_size': 'any' };
    expect(rescued(rescue, own, extraSpecs)).toEqual(rescued(own, own, extraSpecs));
  });

  it.each<[Said, Said?]>([
    [{ hw_machine_type: 'q35' }],
    [{ hw_machine_type: 'pc' }, { hw_machine_type: 'q35' }],
    [{ hw_machine_type: 'pc-i440fx-6.0' }],
    [{ hw_firmware_type: 'uefi' }],
    [{ hw_firmware_type: 'bios' }, { hw_firmware_type: 'uefi' }],
    [{ hw_firmware_type: 'openbios' }],
    [{ os_secure_boot: 'required' }, { hw_firmware_type: 'uefi', hw_machine_type: 'q35' }],
    [{ hw_scsi_model: 'lsilogic' }],
    [{ hw_tpm_version: '2.0' }],
    [{ hw_tpm_model: 'tpm-crb' }, { hw_tpm_version: '2.0' }],
    [{ hw_cpu_sockets: '1' }],
    [{ hw_cpu_max_sockets: '1' }],
    [{ hw_cpu_policy: 'dedicated' }],
    [{ hw_viommu_model: 'intel' }],
    [{ hw_vif_model: 'virtuale1000' }],
    [{ hw_video_model: 'qxl' }],
  ])('refuses %j by name', (rescue, own = {}) => {
    const [name] = Object.keys(rescue);
    expect(() => rescued(rescue, own)).toThrow(
      expect.objectContaining({ code: 'unsupported', message: expect.stringContaining(name!) }),
    );
  });

  it('follows the flavor where that decides', () => {
    const extraSpecs = { 'hw:watchdog_action': 'pause', 'hw:tpm_version': '2.0', 'hw:tpm_model': 'tpm-crb' };
    const rescue = { hw_watchdog_action: 'reset', hw_tpm_model: 'tpm-tis' };
    expect(rescued(rescue, {}, extraSpecs).watchdog).toBe('pause');
  });
});

describe('the disk of a rescue', () => {
  const bus = (properties: Record<string, string>, isQ35 = false) => rescueBus({ ...base.image, properties }, isQ35);
  it('is on the bus that its image wants, else on that of the guest', () => {
    expect(bus({ hw_rescue_bus: 'scsi', hw_rescue_device: 'disk' })).toBe('scsi');
    expect(bus({ hw_rescue_bus: 'sata' }, true)).toBe('sata');
    expect(bus({ hw_disk_bus: 'scsi' })).toBe('scsi');
    expect(bus({ hw_disk_bus: 'sata', hw_rescue_bus: 'scsi' })).toBe('scsi');
    expect(bus({})).toBeNull();
  });
  it.each([
    { hw_rescue_bus: 'usb' },
    { hw_rescue_bus: 'sata' },
    { hw_rescue_device: 'cdrom' },
    { hw_disk_bus: 'sata' },
  ])('is refused with %j', (properties) =>
    expect(() => bus(properties as never)).toThrow(expect.objectContaining({ code: 'unsupported' })),
  );
});

describe('the size of a guest', () => {
  const size = (vcpus: number, extraSpecs: Record<string, string>, properties: Record<string, string> = {}) =>
    sizeOf({ flavor: { ...base.flavor, vcpus, extraSpecs }, image: { ...base.image, properties } });

  it.each([
    [4, {}, {}, { sockets: 4, cores: 1, threads: 1 }],
    [4, { 'hw:cpu_sockets': '2' }, {}, { sockets: 2, cores: 2, threads: 1 }],
    [4, { 'hw:cpu_cores': '4' }, {}, { sockets: 1, cores: 4, threads: 1 }],
    [4, { 'hw:cpu_max_sockets': '1' }, {}, { sockets: 1, cores: 4, threads: 1 }],
    [8, { 'hw:cpu_sockets': '2', 'hw:cpu_threads': '2' }, {}, { sockets: 2, cores: 2, threads: 2 }],
    [2, {}, { hw_cpu_sockets: '1' }, { sockets: 1, cores: 2, threads: 1 }],
    [2, { 'hw:cpu_sockets': '2' }, { hw_cpu_sockets: '1' }, { sockets: 2, cores: 1, threads: 1 }],
  ])('lays out %i CPUs by %j and %j', (vcpus, extraSpecs, properties, topology) => {
    expect(size(vcpus, extraSpecs as never, properties as never).topology).toEqual(topology);
  });

  it.each([
    [3, { 'hw:cpu_sockets': '2' }],
    [4, { 'hw:cpu_cores': '3' }],
    [8, { 'hw:cpu_max_sockets': '1', 'hw:cpu_max_cores': '4' }],
    [2, { 'hw:cpu_sockets': '0' }],
    [4, { 'hw:cpu_sockets': '4', 'hw:cpu_cores': '4' }],
    [1, { 'hw:mem_page_size': '3MB' }],
    [1, { 'hw:mem_page_size': 'enormous' }],
    [1, { 'quota:cpu_quota': 'much' }],
  ])('refuses %i CPUs with %j', (vcpus, extraSpecs) => {
    expect(() => size(vcpus, extraSpecs as never)).toThrow(expect.objectContaining({ code: 'unsupported' }));
  });

  it('lets the image choose its pages where the flavor leaves a choice only', () => {
    const refused = expect.objectContaining({ code: 'unsupported' });
    expect(() => size(1, {}, { hw_mem_page_size: 'large' })).toThrow(refused);
    expect(() => size(1, { 'hw:mem_page_size': 'small' }, { hw_mem_page_size: '2MB' })).toThrow(refused);
    expect(() => size(1, { 'hw:mem_page_size': 'any' }, { hw_mem_page_size: '3MB' })).toThrow(refused);
    expect(size(1, { 'hw:mem_page_size': 'large' }, { hw_mem_page_size: 'small' }).hugePages).toBeNull();
  });

  it('keeps memory from being swapped on large pages only', () => {
    const refused = expect.objectContaining({ code: 'unsupported' });
    expect(() => size(1, { 'hw:locked_memory': 'true' })).toThrow(refused);
    expect(() => size(1, {}, { hw_locked_memory: 'yes' })).toThrow(refused);
    expect(size(1, { 'hw:locked_memory': 'false' }).hugePages).toBeNull();
  });

  it('takes ordinary pages, and limits, as they come', () => {
    expect(size(1, { 'hw:mem_page_size': 'small', 'quota:disk_read_bytes_sec': '1000' })).toMatchObject({
      hugePages: null,
      limits: { disk_read_bytes_sec: 1000 },
    });
  });
});
