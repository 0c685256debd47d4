import { describe, expect, it } from 'vitest';
import { HypervisorError } from '../../hypervisor-driver.js';
import { type Capabilities, type MachineWish, machineFor, PLAIN_TEMPLATE, type Template } from './hardware.js';

const everything: Capabilities = { hvm: true, pv: true, uefi: true, secureBoot: true };
const wish = (properties: Record<string, string> = {}, extraSpecs: Record<string, string> = {}): MachineWish => ({
  ...{ name: 'web', description: 'server 1', vcpus: 4, memoryMib: 512 },
  ...{ properties, extraSpecs, directBoot: false },
});
const made = (
  properties?: Record<string, string>,
  extraSpecs?: Record<string, string>,
  template: Template = PLAIN_TEMPLATE,
) => machineFor(wish(properties, extraSpecs), everything, template);
const refused = (properties: Record<string, string>, extraSpecs = {}, capabilities = everything) => {
  try {
    machineFor(wish(properties, extraSpecs), capabilities, PLAIN_TEMPLATE);
  } catch (error) {
    return error instanceof HypervisorError ? error.code : error;
  }
  return 'made';
};

describe('a machine', () => {
  it('has the memory and CPUs of its flavor, and no balloon', () => {
    const memory = 512 * 2 ** 20;
    expect(made()).toMatchObject({
      ...{ name_label: 'web', name_description: 'server 1', VCPUs_max: 4, VCPUs_at_startup: 4 },
      ...{
        memory_static_min: memory,
        memory_dynamic_min: memory,
        memory_dynamic_max: memory,
        memory_static_max: memory,
      },
    });
  });

  it('stays off when its guest ends, and comes back when it resets itself', () => {
    expect(made()).toMatchObject({ actions_after_shutdown: 'destroy', actions_after_reboot: 'restart' });
  });

  it('is HVM unless its image says otherwise', () => {
    expect(made()).toMatchObject({ domain_type: 'hvm', HVM_boot_policy: 'BIOS order', PV_bootloader: '' });
    expect(made({ hw_vm_mode: 'xen' })).toMatchObject({
      domain_type: 'pv',
      HVM_boot_policy: '',
      PV_bootloader: 'pygrub',
    });
    expect(made({ hw_vm_mode: 'pvh' })).toMatchObject({ domain_type: 'pvh', PV_bootloader: 'pygrub' });
    expect(refused({ hw_vm_mode: 'uml' })).toBe('unsupported');
  });

  it('is what the members can run', () => {
    const old = { hvm: false, pv: true, uefi: false, secureBoot: false };
    expect(machineFor(wish(), old, PLAIN_TEMPLATE)).toMatchObject({ domain_type: 'pv' });
    expect(refused({ hw_vm_mode: 'hvm' }, {}, old)).toBe('unsupported');
    expect(refused({ hw_vm_mode: 'xen' }, {}, { ...everything, pv: false })).toBe('unsupported');
    expect(refused({ hw_firmware_type: 'uefi' }, {}, { ...everything, uefi: false })).toBe('unsupported');
    expect(refused({ os_secure_boot: 'required' }, {}, { ...everything, secureBoot: false })).toBe('unsupported');
  });

  it('boots by UEFI, securely, when asked', () => {
    expect(made({ hw_firmware_type: 'uefi' })).toMatchObject({ HVM_boot_params: { firmware: 'uefi' } });
    const secure = { HVM_boot_params: { firmware: 'uefi' }, platform: { secureboot: 'true' } };
    expect(made({ os_secure_boot: 'required' })).toMatchObject(secure);
    expect(made({}, { 'os:secure_boot': 'required' })).toMatchObject(secure);
    expect(refused({ hw_firmware_type: 'uefi', hw_vm_mode: 'xen' })).toBe('unsupported');
  });

  it('has the devices that its image asks for, or is refused', () => {
    expect(made({ hw_video_model: 'cirrus', hw_vif_model: 'e1000' })).toMatchObject({
      platform: { vga: 'cirrus', nic_type: 'e1000' },
    });
    for (const properties of [
      { hw_disk_bus: 'virtio' },
      { hw_vif_model: 'virtio' },
      { hw_video_model: 'qxl' },
      { hw_machine_type: 'q35' },
      { hw_architecture: 'aarch64' },
      { hw_vif_model: 'e1000', hw_vm_mode: 'xen' },
    ])
      expect([properties, refused(properties)]).toEqual([properties, 'unsupported']);
  });

  it('tells its CPUs as sockets and cores', () => {
    expect(made({ hw_cpu_cores: '2' })).toMatchObject({ platform: { 'cores-per-socket': '2' } });
    expect(made({}, { 'hw:cpu_sockets': '1' })).toMatchObject({ platform: { 'cores-per-socket': '4' } });
    for (const properties of [
      { hw_cpu_threads: '2' },
      { hw_cpu_cores: '3' },
      { hw_cpu_cores: '2', hw_cpu_sockets: '1' },
    ])
      expect([properties, refused(properties)]).toEqual([properties, 'unsupported']);
  });

  it('is refused when its flavor was bought for more than it would be', () => {
    for (const extraSpecs of [
      { 'hw:cpu_policy': 'dedicated' },
      { 'hw:mem_page_size': 'large' },
      { 'hw:numa_nodes': '2' },
      { 'hw:tpm_version': '2.0' },
      { 'pci_passthrough:alias': 'gpu:1' },
    ])
      expect([extraSpecs, refused({}, extraSpecs)]).toEqual([extraSpecs, 'unsupported']);
  });

  it('takes its platform from a template, and what Windows wants from its image', () => {
    const template = {
      platform: { device_id: '0002', viridian: 'false' },
      HVM_boot_params: {},
      recommendations: '<r/>',
    };
    expect(made({}, {}, template)).toMatchObject({ platform: { device_id: '0002' }, recommendations: '<r/>' });
    expect(made({ os_type: 'windows' }, {}, template)).toMatchObject({ platform: { viridian: 'true' } });
  });
});
