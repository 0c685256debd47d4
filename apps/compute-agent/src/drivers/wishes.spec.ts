import { type HardwareWish, hardwareWishes, ServerId } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import { fileSource, testGuest } from './common/test-guest.js';
import { hardwareFor } from './hyperv/hardware.js';
import type { GuestSpec } from './hypervisor-driver.js';
import { devicesFor } from './qemu/devices.js';
import { sizeOf } from './qemu/sizes.js';
import { machineFor as vsphereMachine, wishOf as vsphereWish } from './vsphere/operations/hardware.js';
import { domainTypeFor } from './xen/hardware.js';
import { PLAIN_TEMPLATE, machineFor as poolMachine, wishOf as poolWish } from './xenserver/operations/hardware.js';

type Backend = 'qemu' | 'xen' | 'xenserver' | 'vsphere' | 'hyperv';

const machines = { pc: 'pc-i440fx-7.2', q35: 'pc-q35-7.2', all: new Set(['pc-i440fx-7.2', 'pc-q35-7.2']) };
const everything = { hvm: true, pv: true, pvh: true, uefi: true, secureBoot: true };
/** What each makes of a guest before it asks its hypervisor for anything. */
const PLANS: Readonly<Record<Backend, (spec: GuestSpec) => unknown>> = {
  qemu: (spec) => [devicesFor(spec, machines), sizeOf(spec)],
  xen: (spec) => domainTypeFor(spec, everything, 'pv'),
  xenserver: (spec) => poolMachine(poolWish(spec), everything, PLAIN_TEMPLATE),
  vsphere: (spec) => vsphereMachine(vsphereWish(spec)),
  hyperv: (spec) => hardwareFor(spec, 2),
};
const BACKENDS = Object.keys(PLANS) as Backend[];

const base = testGuest(ServerId.parse('0c2c7a4e-52a3-4b8e-8f4d-000000000001'), 'cloud');
/** Of four CPUs. */
const guest = (properties: Record<string, string>, extraSpecs: Record<string, string>): GuestSpec => ({
  ...base,
  image: { ...base.image, properties },
  flavor: { ...base.flavor, vcpus: 4, extraSpecs },
});

/** What a driver answers: null, or its refusal. */
const refusal = (backend: Backend, properties: Record<string, string>, extraSpecs: Record<string, string>) => {
  try {
    PLANS[backend](guest(properties, extraSpecs));
    return null;
  } catch (error) {
    expect(error).toMatchObject({ name: 'HypervisorError', code: 'unsupported' });
    return (error as Error).message;
  }
};

const NOBODY: readonly Backend[] = [];
type Case = readonly [value: string, servedBy: readonly Backend[]];
/** For each wish a value that asks for something, and who serves it. */
const CASES: Readonly<Record<HardwareWish, Case>> = {
  hw_architecture: ['aarch64', NOBODY],
  hw_vm_mode: ['hvm', BACKENDS],
  hw_machine_type: ['q35', ['qemu']],
  hw_firmware_type: ['uefi', ['qemu', 'xenserver', 'vsphere', 'hyperv']],
  tpm_version: ['2.0', ['qemu']],
  hw_disk_bus: ['scsi', ['qemu', 'vsphere', 'hyperv']],
  hw_cdrom_bus: ['scsi', ['qemu']],
  hw_rescue_bus: ['virtio', ['qemu']],
  hw_vif_model: ['e1000', ['qemu', 'xenserver', 'vsphere']],
  hw_video_model: ['vga', ['qemu', 'xenserver', 'vsphere']],
  os_secure_boot: ['required', ['qemu', 'xenserver', 'vsphere', 'hyperv']],
  'os:secure_boot': ['required', ['qemu', 'xenserver', 'vsphere', 'hyperv']],
  cpu_sockets: ['2', ['qemu', 'xenserver', 'vsphere']],
  cpu_cores: ['2', ['qemu', 'xenserver', 'vsphere']],
  cpu_threads: ['2', ['qemu']],
  cpu_max_sockets: ['4', ['qemu']],
  cpu_max_cores: ['4', ['qemu']],
  cpu_max_threads: ['4', ['qemu']],
  cpu_policy: ['dedicated', ['qemu']],
  cpu_thread_policy: ['isolate', NOBODY],
  cpu_realtime: ['yes', NOBODY],
  cpu_realtime_mask: ['^0', NOBODY],
  cpu_dedicated_mask: ['^0', NOBODY],
  emulator_threads_policy: ['isolate', NOBODY],
  numa_nodes: ['2', NOBODY],
  pci_numa_affinity_policy: ['required', NOBODY],
  mem_page_size: ['17MB', NOBODY],
  locked_memory: ['true', NOBODY],
  mem_encryption: ['true', NOBODY],
  ephemeral_encryption: ['true', NOBODY],
  hw_firmware_stateless: ['true', NOBODY],
  hw_emulation_architecture: ['aarch64', NOBODY],
  maxphysaddr_mode: ['passthrough', NOBODY],
  vif_multiqueue_enabled: ['true', NOBODY],
  virtio_packed_ring: ['true', NOBODY],
  pmu: ['true', NOBODY],
  time_hpet: ['true', ['qemu']],
  boot_menu: ['true', NOBODY],
  hw_ipxe_boot: ['true', NOBODY],
  hide_hypervisor_id: ['true', NOBODY],
  os_require_quiesce: ['yes', ['qemu']],
  pmem: ['fast', NOBODY],
  hw_scsi_model: ['lsilogic', ['qemu', 'vsphere']],
  hw_rng_model: ['virtio', ['qemu']],
  viommu_model: ['intel', NOBODY],
  sound_model: ['ich9', NOBODY],
  usb_model: ['qemu-xhci', NOBODY],
  hw_input_bus: ['usb', NOBODY],
  hw_video_ram: ['64', NOBODY],
  redirected_usb_ports: ['1', NOBODY],
  serial_port_count: ['2', NOBODY],
  hw_pointer_model: ['usbtablet', ['qemu']],
  hw_rescue_device: ['cdrom', ['qemu']],
  watchdog_action: ['reset', ['qemu']],
  'quota:cpu_shares': ['512', ['qemu']],
  'quota:cpu_period': ['10000', ['qemu']],
  'quota:cpu_quota': ['5000', ['qemu']],
  'quota:cpu_limit': ['1000', ['vsphere']],
  'quota:cpu_reservation': ['500', ['vsphere']],
  'quota:cpu_shares_level': ['high', ['vsphere']],
  'quota:cpu_shares_share': ['9', ['vsphere']],
  'quota:memory_limit': ['512', ['vsphere']],
  'quota:memory_reservation': ['256', ['vsphere']],
  'quota:memory_shares_level': ['low', ['vsphere']],
  'quota:memory_shares_share': ['9', ['vsphere']],
  'quota:disk_io_limit': ['100', NOBODY],
  'quota:disk_io_reservation': ['100', NOBODY],
  'quota:disk_io_shares_level': ['high', NOBODY],
  'quota:disk_io_shares_share': ['9', NOBODY],
  'quota:vif_limit': ['100', NOBODY],
  'quota:vif_reservation': ['100', NOBODY],
  'quota:vif_shares_level': ['high', NOBODY],
  'quota:vif_shares_share': ['9', NOBODY],
  'quota:disk_read_bytes_sec': ['1000', ['qemu']],
  'quota:disk_write_bytes_sec': ['1000', ['qemu']],
  'quota:disk_total_bytes_sec': ['1000', ['qemu']],
  'quota:disk_read_iops_sec': ['10', ['qemu']],
  'quota:disk_write_iops_sec': ['10', ['qemu']],
  'quota:disk_total_iops_sec': ['10', ['qemu']],
  'quota:disk_read_bytes_sec_max': ['1000', NOBODY],
  'quota:disk_write_bytes_sec_max': ['1000', NOBODY],
  'quota:disk_total_bytes_sec_max': ['1000', NOBODY],
  'quota:disk_read_iops_sec_max': ['10', NOBODY],
  'quota:disk_write_iops_sec_max': ['10', NOBODY],
  'quota:disk_total_iops_sec_max': ['10', NOBODY],
  'quota:vif_inbound_average': ['1', NOBODY],
  'quota:vif_inbound_peak': ['1', NOBODY],
  'quota:vif_inbound_burst': ['1', NOBODY],
  'quota:vif_outbound_average': ['1', NOBODY],
  'quota:vif_outbound_peak': ['1', NOBODY],
  'quota:vif_outbound_burst': ['1', NOBODY],
  'hw_rng:rate_bytes': ['1024', NOBODY],
  'accel:device_profile': ['gpu', NOBODY],
  'pci_passthrough:alias': ['a1:2', NOBODY],
  'vmware:storage_policy': ['gold', ['vsphere']],
  'vmware:hw_version': ['vmx-13', NOBODY],
};

const NAMES = Object.keys(hardwareWishes) as HardwareWish[];
const saidBy = (name: HardwareWish): Readonly<Partial<Record<'image' | 'flavor', string>>> => {
  if (name.includes(':')) return { flavor: name };
  return /^(hw|os)_/.test(name) ? { image: name } : { image: `hw_${name}`, flavor: `hw:${name}` };
};
/** Refused in other words: by what the machine has of memory, or as nothing without `cpu_policy`. */
const otherWords = (backend: Backend, name: HardwareWish): string | null =>
  /^(mem_page_size|locked_memory)$/.test(name)
    ? name
    : name === 'cpu_thread_policy' && backend === 'qemu'
      ? 'cpu thread pinning policy'
      : null;

describe.each(BACKENDS)('wishes of images and flavors on %s', (backend) => {
  it.each(NAMES)('%s is served, or refused by its name', (name) => {
    const [value, servedBy] = CASES[name];
    const { image, flavor } = saidBy(name);
    const said = [
      ...(image === undefined ? [] : [[image, { [image]: value }, {}] as const]),
      ...(flavor === undefined ? [] : [[flavor, {}, { [flavor]: value }] as const]),
    ];
    for (const [key, properties, extraSpecs] of said) {
      const answer = refusal(backend, properties, extraSpecs);
      if (servedBy.includes(backend)) expect([key, answer]).toEqual([key, null]);
      else expect(answer).toContain(otherWords(backend, name) ?? `${key}=${value}`);
    }
  });

  it('a kernel from outside is served, or refused', () => {
    const directBoot = { kernel: fileSource('/nonexistent'), ramdisk: null, commandLine: null };
    const plan = () => PLANS[backend]({ ...base, directBoot });
    if (['qemu', 'xen'].includes(backend)) expect(plan).not.toThrow();
    else expect(plan).toThrow('a kernel outside of the disk');
  });

  it.each([
    [{ hw_cpu_policy: 'shared', hw_numa_nodes: '1', hw_cpu_threads: '1', hw_serial_port_count: '1' }, {}],
    [{ hw_vif_multiqueue_enabled: 'false', hw_mem_encryption: 'no', os_require_quiesce: '0' }, {}],
    [{ hw_watchdog_action: 'disabled', hw_pointer_model: 'ps2mouse', hw_emulation_architecture: 'x86_64' }, {}],
    [{ os_secure_boot: 'optional', hw_architecture: 'x86_64', hw_vm_mode: 'hvm', hw_viommu_model: '' }, {}],
    [{ os_type: 'linux', os_distro: 'debian', hw_qemu_guest_agent: 'yes', img_config_drive: 'mandatory' }, {}],
    [{}, { 'hw:cpu_policy': 'shared', 'hw:mem_page_size': 'small', 'hw:cpu_realtime': 'off' }],
    [{}, { 'hw:mem_page_size': 'any', 'hw:emulator_threads_policy': 'share', 'os:secure_boot': 'disabled' }],
    [{}, { 'trait:CUSTOM_X': 'required', 'resources:VCPU': '1', 'capabilities:hypervisor_type': 'x', mine: '1' }],
    [{}, { 'quota:disk_read_iops_sec_max': '0', 'quota:vif_limit': '0', 'quota:vif_shares_level': 'normal' }],
  ])('nothing is asked for by %j and %j', (properties, extraSpecs) => {
    expect(refusal(backend, properties as never, extraSpecs as never)).toBeNull();
  });
});
