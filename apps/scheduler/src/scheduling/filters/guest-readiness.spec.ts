import {
  type BootNeed,
  canonicalProperties,
  type ImageReadiness,
  type Readiness,
  type ReserveRequest,
} from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import type { GuestWants, HostClass, Wanted } from '../candidate.js';
import { wantedOf } from '../wanted.js';
import { guestReadiness } from './guest-readiness.js';

const reason = 'Its kernel is paravirtual and starts on Xen only, not on Hyper-V.';
const readiness: ImageReadiness = {
  qemu: { verdict: 'boots', reason: null },
  vsphere: { verdict: 'bootsAfterInjection', reason: 'Its initial RAM disk lacks vmw_pvscsi for vSphere.' },
  hyperv: { verdict: 'cannot', reason },
};
const check = (hypervisorType: string, known: ImageReadiness | undefined = readiness) =>
  guestReadiness.check(
    { request: { image: { ...(known ? { readiness: known } : {}) } } } as unknown as Wanted,
    { hypervisorType } as HostClass,
  );

describe('guest readiness', () => {
  it('lets a guest go where it starts', () => {
    expect(check('QEMU')).toBeNull();
    expect(check('kvm')).toBeNull();
  });
  it('refuses a host that it cannot start on, with the reason and the way out', () =>
    expect(check('hyperv')).toMatchObject({ constraint: 'guest readiness', had: reason }));
  it('refuses a host that it starts on only after driver injection', () =>
    expect(check('VMware vCenter Server')?.had).toMatch(/lacks vmw_pvscsi/));
  it('constrains nothing where nothing is known', () => {
    expect(check('xen')).toBeNull();
    expect(check('hyperv', {})).toBeNull();
    expect(
      guestReadiness.check({ request: { image: {} } } as unknown as Wanted, { hypervisorType: 'hyperv' } as HostClass),
    ).toBeNull();
    expect(check('fake')).toBeNull();
    const beside = { request: { image: { readiness, kernel: {} } } } as unknown as Wanted;
    expect(guestReadiness.check(beside, { hypervisorType: 'hyperv' } as HostClass)).toBeNull();
  });
});

const firmware = { property: 'hw_firmware_type', values: ['uefi'], fails: ['bios', null] };
const bus = { property: 'hw_disk_bus', values: ['scsi', 'ide'], fails: ['virtio', null] };
const scsi = { property: 'hw_scsi_model', values: ['lsilogic'], fails: ['vmpvscsi', null] };
const generation = { property: 'hw_firmware_type', values: ['uefi'], fails: ['bios'] };
const mode = { property: 'hw_vm_mode', values: ['xen', 'pvh'], fails: ['hvm'] };

describe('a property that a guest needs to start', () => {
  const ask = (
    hypervisorType: string,
    need: BootNeed,
    properties: Record<string, string> = {},
    more: { extraSpecs?: Record<string, string>; use?: GuestWants['use']; traits?: string[]; kernel?: object } = {},
  ) => {
    const { extraSpecs = {}, use, traits = [], kernel } = more;
    const one: Readiness = { verdict: 'boots', reason: null, needs: [need] };
    const known: ImageReadiness = { qemu: one, xen: one, xenserver: one, vsphere: one, hyperv: one };
    const image = { readiness: known, properties: canonicalProperties(properties), ...(kernel ? { kernel } : {}) };
    const wants = { request: { image, flavor: { extraSpecs } }, ...(use ? { use } : {}) } as unknown as GuestWants;
    return guestReadiness.check(wants, { hypervisorType, traits: new Set(traits) } as unknown as HostClass);
  };

  it('is refused with the name of the property and what it has', () => {
    expect(ask('QEMU', firmware)).toMatchObject({
      ...{ constraint: 'guest readiness', had: 'none' },
      wanted: 'hw_firmware_type=uefi, which the guest in its image needs to start',
    });
    expect(ask('QEMU', bus, { hw_disk_bus: 'virtio' })).toMatchObject({
      ...{ wanted: expect.stringContaining('hw_disk_bus=scsi or ide,'), had: 'virtio' },
    });
  });
  it.each<[string, BootNeed, Record<string, string>, Parameters<typeof ask>[3]]>([
    ['QEMU', firmware, {}, {}],
    ['QEMU', firmware, { hw_firmware_type: 'bios' }, {}],
    ['VMware vCenter Server', firmware, {}, {}],
    ['VMware vCenter Server', scsi, {}, {}],
    ['VMware vCenter Server', scsi, { vmware_adaptertype: 'paraVirtual' }, {}],
    ['XenServer', firmware, {}, { traits: ['CUSTOM_VM_MODE_HVM', 'CUSTOM_VM_MODE_XEN'] }],
    ['XenServer', firmware, { hw_vm_mode: 'hvm' }, {}],
    ['hyperv', generation, { hw_firmware_type: 'bios' }, {}],
    ['hyperv', generation, { hw_machine_type: 'hyperv-gen1' }, {}],
    ['hyperv', generation, {}, { traits: ['CUSTOM_DEFAULT_FIRMWARE_BIOS'] }],
    ['xen', mode, { hw_vm_mode: 'hvm' }, {}],
    ['xen', mode, { hw_machine_type: 'xenfv' }, {}],
    ['xen', mode, { hw_firmware_type: 'bios' }, {}],
    ['QEMU', bus, {}, {}],
    ['QEMU', firmware, {}, { use: 'rebuild' }],
    ['QEMU', firmware, { hw_firmware_type: 'bios' }, { use: 'rescue' }],
  ])('is missing on %s: %j, %j, %j', (hypervisor, need, properties, more) =>
    expect(ask(hypervisor, need, properties, more)).not.toBeNull(),
  );
  it.each<[string, BootNeed, Record<string, string>, Parameters<typeof ask>[3]]>([
    ['QEMU', firmware, { hw_firmware_type: 'UEFI' }, {}],
    ['QEMU', firmware, { os_secure_boot: 'required' }, {}],
    ['VMware vCenter Server', firmware, {}, { extraSpecs: { 'os:secure_boot': 'required' } }],
    ['QEMU', firmware, {}, { kernel: {} }],
    ['QEMU', bus, { hw_disk_bus: 'ide' }, {}],
    // Nobody knows of it what drivers it takes.
    ['QEMU', bus, { hw_disk_bus: 'usb' }, {}],
    ['VMware vCenter Server', scsi, { vmware_adaptertype: 'lsiLogic' }, {}],
    ['VMware vCenter Server', scsi, { os_type: 'windows' }, {}],
    // Their hosts may make generation 2, and other domains, of what does not say.
    ['hyperv', generation, {}, {}],
    ['hyperv', generation, {}, { traits: ['CUSTOM_DEFAULT_FIRMWARE_UEFI'] }],
    ['hyperv', generation, {}, { traits: ['CUSTOM_DEFAULT_FIRMWARE_BIOS'], use: 'move' }],
    ['hyperv', generation, { hw_machine_type: 'hyperv-gen2' }, { traits: ['CUSTOM_DEFAULT_FIRMWARE_BIOS'] }],
    ['xen', mode, {}, {}],
    ['xen', mode, { hypervisor_type: 'xen', vm_mode: 'pv' }, {}],
    // A paravirtual domain has no firmware.
    ['XenServer', firmware, { hw_vm_mode: 'xen' }, {}],
    ['XenServer', firmware, {}, { traits: ['CUSTOM_VM_MODE_XEN'] }],
    // A machine that is there may have UEFI though no image says so.
    ['XenServer', firmware, {}, { use: 'rebuild' }],
    ['VMware vCenter Server', firmware, {}, { use: 'move' }],
    ['QEMU', firmware, {}, { use: 'rescue' }],
    ['QEMU', firmware, {}, { use: 'move' }],
    ['QEMU', bus, { hw_disk_bus: 'virtio', hw_rescue_bus: 'ide' }, { use: 'rescue' }],
  ])('is there, or may be, on %s: %j, %j, %j', (hypervisor, need, properties, more) =>
    expect(ask(hypervisor, need, properties, more)).toBeNull(),
  );

  it.each([
    ['new', [], false],
    ['there already', ['a host'], true],
  ])('of a server that is %s is missing where hosts make machines anew only', (_, hosts, passes) => {
    const readiness = { vsphere: { verdict: 'boots', reason: null, needs: [firmware] } };
    const asked = { image: { properties: {}, readiness }, flavor: { extraSpecs: {} }, hints: {}, networkHosts: [] };
    const wanted = wantedOf(asked as unknown as ReserveRequest, {
      ...{ hostsOf: () => hosts, groupOf: () => undefined, machineOf: () => undefined },
    });
    const vcenter = { hypervisorType: 'VMware vCenter Server', traits: new Set() } as unknown as HostClass;
    expect(guestReadiness.check(wanted, vcenter) === null).toBe(passes);
  });
});
