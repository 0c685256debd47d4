import type { ImageReadiness } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import type { HostClass, Wanted } from '../candidate.js';
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
