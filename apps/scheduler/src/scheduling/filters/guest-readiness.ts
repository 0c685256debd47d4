import type { HypervisorKind } from '@omnivisor/contracts';
import { type GuestFilter, refusal } from '../candidate.js';

/** Nova's names for the hypervisors of which image-service says whether a guest starts on them. */
const KINDS: Readonly<Record<string, HypervisorKind>> = {
  qemu: 'qemu',
  kvm: 'qemu',
  xen: 'xen',
  xenserver: 'xenserver',
  'vmware vcenter server': 'vsphere',
  'vmware esxi': 'vsphere',
  hyperv: 'hyperv',
};

/** A server goes where the guest in its image starts; what is not known constrains nothing. */
export const guestReadiness: GuestFilter = {
  name: 'guest readiness',
  check: ({ request }, { hypervisorType }) => {
    // It was looked for a kernel on the disk, which is not the one that starts.
    if (request.image.kernel) return null;
    const kind = KINDS[hypervisorType.toLowerCase()];
    const readiness = kind && request.image.readiness?.[kind];
    if (!readiness || readiness.verdict === 'boots') return null;
    return refusal(
      'guest readiness',
      'a hypervisor that the guest in its image starts on',
      readiness.reason ?? hypervisorType,
    );
  },
};
