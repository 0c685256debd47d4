import { describe, expect, it } from 'vitest';
import { canonicalProperties } from './image-properties.js';

describe('properties of an image', () => {
  it.each([
    [{ vm_mode: 'PV' }, { hw_vm_mode: 'xen' }],
    [{ hw_vm_mode: 'HVM' }, { hw_vm_mode: 'hvm' }],
    [{ vm_mode: 'hv' }, { hw_vm_mode: 'hvm' }],
    [{ vm_mode: 'baremetal' }, { hw_vm_mode: 'hvm' }],
    [{ vm_mode: 'uml', hw_vm_mode: 'exe' }, { hw_vm_mode: 'exe' }],
    [{ vm_mode: 'xen', hw_vm_mode: '' }, { hw_vm_mode: 'xen' }],
    [{ architecture: 'AMD64' }, { hw_architecture: 'x86_64' }],
    [{ hypervisor_type: 'kvm,xen' }, { img_hv_type: 'kvm,xen' }],
    [{ hypervisor_version_requires: '>=7' }, { img_hv_requested_version: '>=7' }],
    [{ hw_vif_model: 'VirtualVmxnet3' }, { hw_vif_model: 'vmxnet3' }],
    [{ hw_vif_model: 'VirtualE1000' }, { hw_vif_model: 'e1000' }],
    [{ hw_vif_model: 'VirtualE1000e' }, { hw_vif_model: 'e1000e' }],
    [{ hw_vif_model: 'VirtualPCNet32' }, { hw_vif_model: 'pcnet' }],
    [{ hw_scsi_model: 'lsiLogicSAS' }, { hw_scsi_model: 'lsisas1068' }],
    [{ vmware_adaptertype: 'paraVirtual' }, { vmware_adaptertype: 'vmpvscsi' }],
    [{ hw_firmware_type: 'UEFI' }, { hw_firmware_type: 'uefi' }],
    [{ hw_vm_mode: 'constructor' }, { hw_vm_mode: 'constructor' }],
    [
      { Toolchain: 'Any', 'trait:CUSTOM_X': 'required' },
      { Toolchain: 'Any', 'trait:CUSTOM_X': 'required' },
    ],
  ])('%j are %j', (given, canonical) => {
    expect(canonicalProperties(given as never)).toEqual(canonical);
    expect(canonicalProperties(canonical as never)).toEqual(canonical);
  });
});
