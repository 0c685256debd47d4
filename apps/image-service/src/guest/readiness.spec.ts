import type { GuestFacts, HypervisorKind } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import { readinessOf } from './readiness.js';

const guest = (more: Partial<GuestFacts> = {}): GuestFacts => ({
  ...{ partitions: 'gpt', firmware: ['bios', 'uefi'], fileSystems: ['ext4'], agents: [], unknown: null },
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
      reason: expect.stringMatching(
        /lacks hv_vmbus and hv_storvsc for Hyper-V; os-omnivisor-inject can make one that has it\.$/,
      ),
    });
    expect(vsphere?.verdict).toBe('bootsAfterInjection');
    const own = readinessOf(guest({ distribution: { id: 'slackware', version: null } }));
    expect(own.hyperv?.reason).toMatch(/its own tools/);
    const rocky = readinessOf(guest({ distribution: { id: 'rocky', version: '9' } }));
    expect(rocky.hyperv?.reason).toMatch(/os-omnivisor-inject can make one that has it \(tried on Debian only\)\.$/);
  });
  it('needs tools of its own for a new one where this service has no device on which it starts', () => {
    const { qemu } = readinessOf(
      guest({ bootDrivers: ['hv_vmbus', 'hv_storvsc', 'sd_mod'], otherDrivers: ['virtio_pci', 'virtio_blk'] }),
    );
    expect(qemu).toEqual({
      verdict: 'bootsAfterInjection',
      reason: 'Its initial RAM disk lacks virtio_pci and virtio_blk for QEMU; its own tools can make one that has it.',
    });
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
      reason: expect.stringMatching(/hw_disk_bus=ide,.*no network: it lacks virtio_net/),
    });
  });

  const drivers = ['virtio_pci', 'virtio_blk', 'virtio_net', 'xen_blkfront', 'xen_netfront', 'vmw_pvscsi', 'vmxnet3'];
  const everywhere = [...drivers, 'hv_vmbus', 'hv_storvsc', 'hv_netvsc'];
  const uefi = { firmware: ['uefi', 'secure-boot'], fileSystems: ['vfat', 'ext4'] } as const;
  const only = (more: object) => readinessOf(guest({ bootDrivers: everywhere, otherDrivers: ['nvme'], ...more }));

  it.each<[HypervisorKind, string, string[], (string | null)[], string]>([
    ['qemu', 'hw_firmware_type', ['uefi'], ['bios', null], 'on QEMU it needs hw_firmware_type=uefi.'],
    ['xenserver', 'hw_firmware_type', ['uefi'], ['bios', null], 'on XenServer it needs hw_firmware_type=uefi.'],
    ['vsphere', 'hw_firmware_type', ['uefi'], ['bios', null], 'on vSphere it needs hw_firmware_type=uefi.'],
    [
      'hyperv',
      'hw_firmware_type',
      ['uefi'],
      ['bios'],
      'on Hyper-V it needs hw_firmware_type=uefi where its hosts make generation 1 of what does not say.',
    ],
    ['xen', 'hw_vm_mode', ['xen', 'pvh'], ['hvm'], 'on Xen it needs hw_vm_mode=xen or pvh, which need no firmware.'],
  ])('by UEFI only is on %s with a property, and fails for sure with others', (kind, property, values, fails, reason) =>
    expect(only(uefi)[kind]).toEqual({
      ...{ verdict: 'boots', reason: `Its disk starts by UEFI only: ${reason}` },
      needs: [{ property, values, fails }],
    }),
  );
  it('by BIOS only is where nobody asks for UEFI', () => {
    const needs = [{ property: 'hw_firmware_type', values: ['bios'], fails: ['uefi'] }];
    const readiness = only({ firmware: ['bios'] });
    for (const kind of ['qemu', 'xenserver', 'vsphere', 'hyperv'] as const)
      expect(readiness[kind]).toEqual({ verdict: 'boots', reason: null, needs });
    expect(readiness.xen).toEqual({ verdict: 'boots', reason: null });
  });
  it.each([
    ['both', { firmware: ['bios', 'uefi'], fileSystems: ['vfat', 'ext4'] }],
    ['BIOS, and perhaps a loader at another place', { firmware: ['bios'], fileSystems: ['vfat', 'ext4'] }],
    ['BIOS, and perhaps a loader that could not be read', { firmware: ['bios'], fileSystems: ['damaged', 'ext4'] }],
  ])('is with any firmware where it starts by %s', (_, more) => {
    for (const one of Object.values(only(more))) expect(one).toEqual({ verdict: 'boots', reason: null });
  });
  it('is not said of a disk without a loader where that is what starts', () => {
    const { qemu, xen } = only({ firmware: [] });
    expect(qemu).toEqual({ verdict: 'boots', reason: 'No boot loader was found on its disk.' });
    expect(xen).toEqual({ verdict: 'boots', reason: null });
  });

  it.each<[HypervisorKind, string[], string, string[], (string | null)[]]>([
    ['qemu', ['ata_piix'], 'hw_disk_bus', ['ide'], ['virtio', null]],
    ['qemu', ['ahci', 'virtio_pci', 'virtio_scsi'], 'hw_disk_bus', ['scsi', 'sata'], ['virtio', null]],
    ['vsphere', ['mptspi'], 'hw_scsi_model', ['lsilogic'], ['vmpvscsi', null]],
    ['xen', ['ata_piix'], 'hw_vm_mode', ['hvm'], ['xen', 'pvh']],
    ['xenserver', ['ata_piix'], 'hw_vm_mode', ['hvm'], ['xen', 'pvh']],
    ['hyperv', ['ata_piix'], 'hw_firmware_type', ['bios'], ['uefi']],
  ])('on %s with %j alone is with another disk than the default', (kind, bootDrivers, property, values, fails) =>
    expect(only({ firmware: ['bios', 'uefi'], bootDrivers })[kind]).toMatchObject({
      ...{ verdict: 'boots', needs: [{ property, values, fails }] },
    }),
  );
  it('names the machine type that goes with a bus', () =>
    expect(only({ bootDrivers: ['ahci'] }).qemu?.reason).toContain(
      'On QEMU it needs hw_disk_bus=sata (with hw_machine_type=q35), for it has no virtio_pci and virtio_blk',
    ));
  it('is not where UEFI and the disks that it has drivers for do not go together', () => {
    const ide = { ...uefi, bootDrivers: ['ata_piix'], otherDrivers: ['hv_vmbus', 'hv_storvsc'] };
    expect(only(ide).hyperv?.verdict).toBe('bootsAfterInjection');
    expect(only(ide).xen?.verdict).toBe('cannot');
  });
  it('is not on the disks of vSphere with drivers for those of PCs', () => {
    const of = (otherDrivers: string[]) => only({ bootDrivers: ['ata_piix', 'ahci'], otherDrivers }).vsphere?.verdict;
    expect([of(['vmw_pvscsi']), of(['nvme']), of([])]).toEqual(['bootsAfterInjection', 'cannot', undefined]);
  });
  it('of a paravirtual kernel is Xen, with the way out for the others', () => {
    const readiness = readinessOf(guest({ kernel: { release: '2.6.18-xen', boot: 'xen' } }));
    expect(readiness.xen).toEqual({
      ...{ verdict: 'boots', reason: null },
      needs: [{ property: 'hw_vm_mode', values: ['xen', 'pvh'], fails: ['hvm'] }],
    });
    for (const kind of ['qemu', 'vsphere', 'hyperv', 'xenserver'] as const)
      expect(readiness[kind]).toMatchObject({ verdict: 'cannot', reason: expect.stringMatching(/standard kernel/) });
    expect(readiness.hyperv?.reason).toContain('not on Hyper-V');
  });
  it('is not known of a disk without a kernel', () => {
    expect(readinessOf(guest({ kernel: null }))).toEqual({});
    expect(readinessOf(guest({ bootDrivers: [] }))).toEqual({});
  });
});
