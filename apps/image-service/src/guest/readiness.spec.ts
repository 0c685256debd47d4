import type { GuestFacts } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import { readinessOf } from './readiness.js';

const guest = (more: Partial<GuestFacts> = {}): GuestFacts => ({
  ...{ partitions: 'gpt', firmware: ['bios'], fileSystems: ['ext4'], agents: [], unknown: null },
  distribution: { id: 'debian', version: '12' },
  kernel: { release: '6.1.0', boot: 'any' },
  bootDrivers: ['virtio_blk', 'virtio_net', 'virtio_pci'],
  otherDrivers: ['hv_netvsc', 'hv_storvsc', 'hv_vmbus', 'vmw_pvscsi', 'vmxnet3'],
  ...more,
});

describe('where a guest starts', () => {
  it('is where its initial RAM disk has the drivers of the root disk', () =>
    expect(readinessOf(guest()).qemu).toEqual({ verdict: 'boots', reason: null }));
  it('needs a new initial RAM disk where only its kernel has them', () => {
    const { hyperv, vsphere } = readinessOf(guest());
    expect(hyperv).toMatchObject({
      verdict: 'bootsAfterInjection',
      reason: expect.stringMatching(/lacks hv_vmbus and hv_storvsc for Hyper-V; os-omnivisor-inject/),
    });
    expect(vsphere?.verdict).toBe('bootsAfterInjection');
    const own = readinessOf(guest({ distribution: { id: 'slackware', version: null } }));
    expect(own.hyperv?.reason).toMatch(/its own tools/);
  });
  it('is not where its kernel has none', () =>
    expect(readinessOf(guest()).xen).toEqual({
      verdict: 'cannot',
      reason: 'Its kernel has no xen_blkfront for the disks of Xen.',
    }));
  it('is not known where its modules could not be read', () => {
    const { hyperv, qemu } = readinessOf(guest({ otherDrivers: [] }));
    expect([hyperv, qemu?.verdict]).toEqual([undefined, 'boots']);
  });
  it('says what is missing besides', () => {
    expect(readinessOf(guest({ bootDrivers: ['ata_piix', 'sd_mod'] })).qemu).toMatchObject({
      verdict: 'boots',
      reason: expect.stringMatching(/hw_disk_bus.*no network: it lacks virtio_net/),
    });
  });
  it('of a paravirtual kernel is Xen, with the way out for the others', () => {
    const readiness = readinessOf(guest({ kernel: { release: '2.6.18-xen', boot: 'xen' } }));
    expect(readiness.xen).toEqual({ verdict: 'boots', reason: null });
    for (const kind of ['qemu', 'vsphere', 'hyperv', 'xenserver'] as const)
      expect(readiness[kind]).toMatchObject({ verdict: 'cannot', reason: expect.stringMatching(/standard kernel/) });
    expect(readiness.hyperv?.reason).toContain('not on Hyper-V');
  });
  it('is not known of a disk without a kernel', () => {
    expect(readinessOf(guest({ kernel: null }))).toEqual({});
    expect(readinessOf(guest({ bootDrivers: [] }))).toEqual({});
  });
});
