import { DomainError, features } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import { coldNeeds, liveNeeds, refuseUnfit, type Way, withNeeds } from './move-needs.js';

const { trait: LIVE } = features.liveMigration;
const { trait: COPIED } = features['liveMigration.copied'];
const hyperv = {
  backend: 'hyperv' as const,
  traits: ['CUSTOM_HYPERVISOR_HYPERV', LIVE, COPIED],
  migration: { storage: null, realm: 'CUSTOM_REALM', pool: null },
};
const vsphere = {
  backend: 'vsphere' as const,
  traits: ['CUSTOM_HYPERVISOR_VSPHERE', LIVE],
  migration: { storage: 'CUSTOM_STORAGE', realm: 'CUSTOM_VCENTER', pool: 'CUSTOM_VCENTER' },
};
const auto: Way = { disks: 'copied', mayShare: true };
const wishes = (needs: ReturnType<typeof coldNeeds>) => needs.map(({ trait, wish }) => `${trait} ${wish}`);
const reason = (action: () => unknown) => {
  try {
    return action();
  } catch (error) {
    return [(error as DomainError).kind, (error as DomainError).message];
  }
};

describe('the target of a running server', () => {
  it('runs the same hypervisor, and is where guests of its source can go', () => {
    const needs = ['CUSTOM_HYPERVISOR_HYPERV required', `${LIVE} required`, 'CUSTOM_REALM required'];
    expect(wishes(liveNeeds(hyperv, auto))).toEqual(needs);
    expect(wishes(liveNeeds(hyperv, { disks: 'copied' }))).toEqual(needs);
  });

  it('has the storage of its disks when they are not to be copied, or cannot be', () => {
    for (const way of [auto, { disks: 'shared' } as const])
      expect(wishes(liveNeeds(vsphere, way))).toContain('CUSTOM_STORAGE required');
    const nfs = { ...hyperv, migration: { ...hyperv.migration, storage: 'CUSTOM_NFS' } };
    expect(wishes(liveNeeds(nfs, auto))).not.toContain('CUSTOM_NFS required');
    expect(wishes(liveNeeds(nfs, { disks: 'shared' }))).toContain('CUSTOM_NFS required');
  });

  it('is nowhere when disks have to be shared that are not, or copied where that cannot be', () => {
    expect(reason(() => liveNeeds(hyperv, { disks: 'shared' }))).toEqual([
      'invalid',
      'Migration pre-check error: the disks of the server lie on storage that no other host has',
    ]);
    expect(reason(() => liveNeeds(vsphere, { disks: 'copied' }))).toEqual([
      'invalid',
      'Migration pre-check error: its hypervisor does not copy disks',
    ]);
  });

  it('is judged by its backend alone when an older agent does not tell more', () => {
    const { migration: _, ...older } = { ...hyperv, traits: ['CUSTOM_HYPERVISOR_HYPERV', LIVE] };
    for (const way of [auto, { disks: 'shared' }, { disks: 'copied' }] as const)
      expect(wishes(liveNeeds(older, way))).toEqual(['CUSTOM_HYPERVISOR_HYPERV required', `${LIVE} required`]);
  });

  it('that is named and does not fit is refused with the reason', () => {
    const target = (...traits: string[]) => reason(() => refuseUnfit({ traits }, liveNeeds(vsphere, auto)));
    expect(target('CUSTOM_HYPERVISOR_QEMU', LIVE)).toEqual([
      'invalid',
      expect.stringContaining('hypervisor is another'),
    ]);
    expect(target('CUSTOM_HYPERVISOR_VSPHERE')).toEqual(['invalid', expect.stringContaining('does not take servers')]);
    expect(target('CUSTOM_HYPERVISOR_VSPHERE', LIVE)).toEqual([
      'invalid',
      expect.stringContaining('not where servers'),
    ]);
    expect(target('CUSTOM_HYPERVISOR_VSPHERE', LIVE, 'CUSTOM_VCENTER')).toEqual([
      'invalid',
      expect.stringContaining('does not have the storage'),
    ]);
    expect(target('CUSTOM_HYPERVISOR_VSPHERE', LIVE, 'CUSTOM_VCENTER', 'CUSTOM_STORAGE')).toBeUndefined();
  });
});

describe('the target of a server that is off meanwhile', () => {
  it('is anywhere but in the pool of its source when it is named', () => {
    expect(coldNeeds(hyperv, true)).toEqual([]);
    expect(coldNeeds({ ...vsphere, migration: { ...vsphere.migration, pool: null } }, true)).toEqual([]);
    expect(wishes(coldNeeds(vsphere, true))).toEqual(['CUSTOM_VCENTER forbidden']);
    expect(reason(() => refuseUnfit({ traits: ['CUSTOM_VCENTER'] }, coldNeeds(vsphere, true)))).toEqual([
      'invalid',
      expect.stringContaining('in the pool'),
    ]);
    const { migration: _, ...older } = vsphere;
    expect(wishes(coldNeeds(older, true))).toEqual(['CUSTOM_HYPERVISOR_VSPHERE forbidden']);
  });

  it('runs the same hypervisor when nobody has named it', () => {
    expect(wishes(coldNeeds(hyperv, false))).toEqual(['CUSTOM_HYPERVISOR_HYPERV required']);
    expect(wishes(coldNeeds(vsphere, false))).toEqual([
      'CUSTOM_HYPERVISOR_VSPHERE required',
      'CUSTOM_VCENTER forbidden',
    ]);
    const { migration: _, ...older } = vsphere;
    expect(reason(() => coldNeeds(older, false))).toEqual(['invalid', expect.stringContaining('in the pool')]);
  });

  it('is told by what the flavor asks for', () => {
    const flavor = { extraSpecs: { 'hw:cpu_policy': 'shared' } } as unknown as Parameters<typeof withNeeds>[0];
    expect(withNeeds(flavor, coldNeeds(vsphere, true)).extraSpecs).toEqual({
      'hw:cpu_policy': 'shared',
      'trait:CUSTOM_VCENTER': 'forbidden',
    });
  });
});
