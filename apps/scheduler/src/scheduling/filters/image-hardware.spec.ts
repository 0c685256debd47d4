import { describe, expect, it } from 'vitest';
import type { HostClass, Wanted } from '../candidate.js';
import { capabilities, matches } from './capabilities.js';
import { imageHardware } from './image-hardware.js';
import { imageProperties } from './image-properties.js';

const hostClass = {
  traits: new Set(['COMPUTE_STORAGE_BUS_SCSI', 'COMPUTE_NET_VIF_MODEL_VMXNET3', 'CUSTOM_VM_MODE_HVM']),
  hypervisorType: 'VMware vCenter Server',
  hypervisorVersion: 7_000_003,
  architecture: 'x86_64',
} as unknown as HostClass;
const bare = { ...hostClass, traits: new Set(['COMPUTE_NODE']) } as HostClass;
const ask = (properties: Record<string, string>, extraSpecs: Record<string, string> = {}) =>
  ({ request: { image: { properties }, flavor: { extraSpecs } } }) as unknown as Wanted;

describe('hardware of an image', () => {
  it.each([
    [{ hw_disk_bus: 'scsi' }],
    [{ hw_vif_model: 'VirtualVmxnet3' }],
    [{ hw_vif_model: 'vmxnet3', vm_mode: 'hvm' }],
    [{ hw_vm_mode: 'hv' }],
    [{ hw_video_model: 'vga' }],
  ])('is served by hosts that have it, or say nothing of its kind: %j', (properties) =>
    expect(imageHardware.check(ask(properties), hostClass)).toBeNull(),
  );
  it.each([
    [{ hw_disk_bus: 'virtio' }, 'hw_disk_bus'],
    [{ hw_cdrom_bus: 'ide' }, 'hw_cdrom_bus'],
    [{ hw_vif_model: 'virtio' }, 'hw_vif_model'],
    [{ vm_mode: 'xen' }, 'vm mode'],
    [{ hw_vm_mode: 'pv' }, 'vm mode'],
  ])('is refused with its name elsewhere: %j', (properties, constraint) => {
    expect(imageHardware.check(ask(properties as never), hostClass)).toMatchObject({ constraint });
    expect(imageHardware.check(ask(properties as never), bare)).toBeNull();
  });
});

describe('a TPM', () => {
  const host = (...traits: string[]) => ({ ...hostClass, traits: new Set(traits) }) as HostClass;
  const swtpm = host('COMPUTE_SECURITY_TPM_2_0', 'COMPUTE_SECURITY_TPM_TIS', 'COMPUTE_SECURITY_TPM_CRB');
  it('is there only where a host says so, whether the image or the flavor asks for it', () => {
    for (const wanted of [ask({ hw_tpm_version: '2.0' }), ask({}, { 'hw:tpm_version': '2.0' })]) {
      expect(imageHardware.check(wanted, swtpm)).toBeNull();
      expect(imageHardware.check(wanted, bare)).toMatchObject({ constraint: 'tpm_version', wanted: '2.0' });
    }
    expect(imageHardware.check(ask({ hw_tpm_version: '1.2' }), swtpm)).toMatchObject({ constraint: 'tpm_version' });
    expect(imageHardware.check(ask({ hw_tpm_version: '1.2' }, { 'hw:tpm_version': '2.0' }), swtpm)).toBeNull();
  });
  it('is of the model that is asked for', () => {
    const wanted = ask({ hw_tpm_version: '2.0', hw_tpm_model: 'tpm-crb' });
    expect(imageHardware.check(wanted, swtpm)).toBeNull();
    expect(imageHardware.check(wanted, host('COMPUTE_SECURITY_TPM_2_0'))).toMatchObject({ constraint: 'tpm_model' });
    expect(imageHardware.check(ask({ hw_tpm_model: 'tpm-crb' }), bare)).toBeNull();
  });
});

describe('the format of an image', () => {
  const windows = { ...hostClass, traits: new Set(['COMPUTE_IMAGE_TYPE_VHD']), tellsFormats: true } as HostClass;
  const format = (diskFormat: string) =>
    imageProperties.check(
      { request: { image: { properties: {}, diskFormat }, flavor: { extraSpecs: {} } } } as unknown as Wanted,
      windows,
    );
  it.each(['vhd', 'raw', 'qcow2', 'vmdk'])('may be one that the image service makes of it: %s', (name) =>
    expect(format(name)).toBeNull(),
  );
  it('is refused when it is none of these', () =>
    expect(format('iso')).toMatchObject({ constraint: 'disk format', wanted: 'iso' }));
});

describe('capabilities of a flavor', () => {
  it.each([
    ['QEMU', 'QEMU', true],
    ['QEMU', 's== QEMU', true],
    ['QEMU', 's!= QEMU', false],
    ['QEMU', '<or> xen <or> QEMU', true],
    ['QEMU', '<in> EM', true],
    ['QEMU', '<all-in> Q U', true],
    ['7002022', '>= 7002000', true],
    ['7002022', '= 8000000', false],
    ['7002022', '== 7002022', true],
  ])('%s is %s: %s', (had, wanted, holds) => expect(matches(had, wanted)).toBe(holds));

  it('are those of the hypervisor, and nobody has what is not known', () => {
    const check = (specs: Record<string, string>) => capabilities.check(ask({}, specs), hostClass);
    expect(check({ 'capabilities:hypervisor_version': '>= 7000000', 'hw:cpu_policy': 'shared' })).toBeNull();
    expect(check({ 'capabilities:hypervisor_type': 's== QEMU' })).toMatchObject({
      ...{ constraint: 'hypervisor_type', wanted: 's== QEMU', had: 'VMware vCenter Server' },
    });
    expect(check({ 'capabilities:luck': '1' })).toMatchObject({ constraint: 'luck', had: 'not known' });
  });
});

describe('a kernel beside the disk', () => {
  const wanted = {
    request: { image: { properties: {}, kernel: {} }, flavor: { extraSpecs: {} } },
  } as unknown as Wanted;
  it('is started by hosts that say so', () => {
    const starts = { ...hostClass, traits: new Set(['COMPUTE_IMAGE_TYPE_AKI']) } as HostClass;
    expect(imageProperties.check(wanted, starts)).toBeNull();
    expect(imageProperties.check(wanted, hostClass)).toMatchObject({ wanted: 'a kernel beside the disk' });
  });
});
