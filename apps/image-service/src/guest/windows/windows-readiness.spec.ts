import type { GuestFacts, HypervisorKind } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import { readinessOf } from '../readiness.js';

const INBOX = ['atapi', 'intelide', 'lsi_sas', 'storahci', 'stornvme', 'storvsc', 'vmbus'];
const guest = (more: Partial<GuestFacts> = {}): GuestFacts => ({
  ...{ partitions: 'gpt', firmware: ['bios', 'uefi'], fileSystems: ['vfat', 'ntfs'], agents: [], unknown: null },
  ...{ distribution: null, kernel: null, bootDrivers: INBOX, otherDrivers: ['e1000', 'e1000e', 'netvsc'] },
  windows: { product: 'Windows Server 2022 Standard', build: '20348', left: 'clean' },
  ...more,
});
const BIOS: Partial<GuestFacts> = { partitions: 'mbr', firmware: ['bios'] };
const UEFI: Partial<GuestFacts> = { firmware: ['uefi', 'secure-boot'] };

describe('where a Windows starts', () => {
  it.each<[HypervisorKind, object]>([
    ['qemu', { needs: [{ property: 'hw_disk_bus', values: ['ide', 'sata', 'scsi'], fails: ['virtio', null] }] }],
    [
      'vsphere',
      { needs: [{ property: 'hw_scsi_model', values: ['lsisas1068'], fails: ['vmpvscsi', 'lsilogic', null] }] },
    ],
    ['xen', { needs: [{ property: 'hw_vm_mode', values: ['hvm'], fails: ['xen', 'pvh', null] }] }],
    ['xenserver', { needs: [{ property: 'hw_vm_mode', values: ['hvm'], fails: ['xen', 'pvh'] }] }],
    ['hyperv', { reason: null }],
  ])('is on %s with what it brings itself', (kind, expected) =>
    expect(readinessOf(guest())[kind]).toMatchObject({ verdict: 'boots', ...expected }),
  );
  it('is said with what is missing, and what brings it', () => {
    const { qemu, vsphere, xenserver, xen } = readinessOf(guest());
    expect(qemu?.reason).toBe(
      'On QEMU it needs hw_disk_bus=ide or sata (with hw_machine_type=q35) or scsi (with hw_scsi_model=lsisas1068), for it has no viostor when it starts (virtio-win). On QEMU its network needs hw_vif_model=e1000e, for it has no netkvm (virtio-win).',
    );
    expect(vsphere?.reason).toBe(
      'On vSphere it needs hw_scsi_model=lsisas1068 (as os_type=windows has it), for it has no pvscsi when it starts (VMware Tools).',
    );
    expect(xenserver?.reason).toMatch(
      /disk is slow, .* xenbus and xenvbd \(XenServer VM Tools\)\..*hw_vif_model=e1000/,
    );
    expect(xen?.reason).toMatch(/On Xen it has no network/);
  });
  it('is not said of what is older than Vista, and of one whose build is not known', () => {
    const of = (build: string | null) => readinessOf(guest({ windows: { product: null, build, left: 'clean' } }));
    expect(of('2600')).toEqual({});
    expect(of(null)).toEqual(readinessOf(guest()));
    expect(of('none')).toEqual(readinessOf(guest()));
  });
  it.each(['dirty', 'hibernated'] as const)('is not denied to one that was left %s', (left) => {
    const windows = { product: null, build: '20348', left };
    const { qemu, vsphere } = readinessOf(guest({ windows, bootDrivers: ['intelide', 'atapi'] }));
    expect([qemu?.verdict, vsphere]).toEqual(['boots', undefined]);
  });
  it('is QEMU with the controllers of vSphere, too', () => {
    const needs = [
      { property: 'hw_disk_bus', values: ['scsi'], fails: expect.arrayContaining(['virtio', 'ide', null]) },
    ];
    expect(readinessOf(guest({ bootDrivers: ['pvscsi'] })).qemu).toMatchObject({ verdict: 'boots', needs });
  });
  it('is anywhere with the drivers of all, and needs nothing for a disk', () => {
    const bootDrivers = [...INBOX, 'viostor', 'vioscsi', 'pvscsi', 'lsi_scsi', 'xenbus', 'xenvbd'];
    const readiness = readinessOf(
      guest({ bootDrivers, otherDrivers: ['e1000e', 'netkvm', 'netvsc', 'xenvif', 'xennet'] }),
    );
    for (const kind of ['qemu', 'vsphere', 'hyperv'] as const)
      expect(readiness[kind]).toEqual({ verdict: 'boots', reason: null });
    expect(readiness.xen?.reason).toBeNull();
  });
  it('is not where it has no driver that starts with it, though it has the files', () => {
    const bootDrivers = INBOX.filter((d) => d !== 'lsi_sas');
    expect(readinessOf(guest({ bootDrivers, otherDrivers: ['pvscsi'] })).vsphere).toEqual({
      verdict: 'cannot',
      reason:
        'When it starts it has no pvscsi for the disks of vSphere: install VMware Tools where it runs now. It has the files, which is not enough for the disk it starts from.',
    });
  });
  it('is refused a disk that it has no driver for, also where that is the default of Windows', () => {
    const bootDrivers = [...INBOX.filter((d) => d !== 'lsi_sas'), 'pvscsi'];
    expect(readinessOf(guest({ bootDrivers })).vsphere?.needs).toEqual([
      { property: 'hw_scsi_model', values: ['vmpvscsi'], fails: ['lsisas1068', 'lsilogic'] },
    ]);
  });
  it('by UEFI only is not Xen, and generation 2 of Hyper-V', () => {
    const { xen, hyperv, xenserver } = readinessOf(guest(UEFI));
    expect(xen).toMatchObject({ verdict: 'cannot', reason: expect.stringMatching(/UEFI only.*no other mode/) });
    expect(hyperv?.needs).toEqual([{ property: 'hw_firmware_type', values: ['uefi'], fails: ['bios'] }]);
    expect(xenserver?.needs?.map((n) => n.property)).toEqual(['hw_firmware_type', 'hw_vm_mode']);
  });
  it('by BIOS only is not with UEFI, and by IDE on Hyper-V', () => {
    const readiness = readinessOf(guest(BIOS));
    for (const kind of ['qemu', 'xenserver', 'vsphere', 'hyperv'] as const)
      expect(readiness[kind]?.needs).toContainEqual({
        property: 'hw_firmware_type',
        values: ['bios'],
        fails: ['uefi'],
      });
    expect(readinessOf(guest({ ...BIOS, bootDrivers: ['storahci', 'vmbus', 'storvsc'] })).hyperv).toMatchObject({
      ...{ verdict: 'cannot', reason: expect.stringMatching(/no intelide and atapi/) },
    });
  });
  it('of before 2012 is not generation 2 of Hyper-V', () => {
    const windows = { product: 'Windows Server 2008 R2 Standard', build: '7601', left: 'clean' } as const;
    expect(readinessOf(guest({ ...UEFI, windows })).hyperv?.verdict).toBe('cannot');
  });
  it.each([
    ['hibernated', /was hibernated.*shutdown \/s/],
    ['dirty', /was not closed/],
  ] as const)('says what comes of one that was left %s', (left, words) =>
    expect(readinessOf(guest({ windows: { product: null, build: null, left } })).hyperv?.reason).toMatch(words),
  );
});
