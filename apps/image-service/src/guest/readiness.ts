import type { GuestFacts, HypervisorKind, ImageReadiness, Readiness } from '@omnivisor/contracts';

interface Needs {
  readonly name: string;
  /** Sets of drivers, any of which finds the root disk that our drivers give, best first. */
  readonly disk: readonly (readonly string[])[];
  readonly network: readonly (readonly string[])[];
  /** Set when the first one is missing and another does. */
  readonly otherwise: string;
}

const NEEDS: Readonly<Record<HypervisorKind, Needs>> = {
  qemu: {
    name: 'QEMU',
    disk: [['virtio_pci', 'virtio_blk'], ['virtio_pci', 'virtio_scsi'], ['ata_piix'], ['ahci']],
    network: [['virtio_net'], ['e1000'], ['e1000e']],
    otherwise: 'it needs hw_disk_bus=scsi or ide, for it has no virtio_blk when it starts',
  },
  xen: {
    name: 'Xen',
    disk: [['xen_blkfront'], ['ata_piix']],
    network: [['xen_netfront'], ['e1000'], ['8139cp']],
    otherwise: 'it needs vm_mode=hvm, for it has no xen_blkfront when it starts',
  },
  xenserver: {
    name: 'XenServer',
    disk: [['xen_blkfront'], ['ata_piix']],
    network: [['xen_netfront'], ['e1000'], ['8139cp']],
    otherwise: 'its disk is slow, for it has no xen_blkfront when it starts',
  },
  vsphere: {
    name: 'vSphere',
    disk: [['vmw_pvscsi'], ['mptspi'], ['ata_piix'], ['ahci']],
    network: [['vmxnet3'], ['e1000'], ['e1000e']],
    otherwise:
      'it needs hw_disk_bus=scsi with vmware_adaptertype=lsiLogic, or ide, for it has no vmw_pvscsi when it starts',
  },
  hyperv: {
    name: 'Hyper-V',
    disk: [['hv_vmbus', 'hv_storvsc'], ['ata_piix']],
    network: [['hv_vmbus', 'hv_netvsc'], ['tulip']],
    otherwise: 'it starts in generation 1 machines only, for it has no hv_storvsc when it starts',
  },
};

/** Their initial RAM disk can be made anew by tools that we know. */
const FAMILIES = /^(debian|ubuntu|rhel|centos|rocky|almalinux|fedora|ol)$/;

const has = (drivers: ReadonlySet<string>, set: readonly string[]) => set.every((d) => drivers.has(d));

const paravirtualOnly = ({ name }: Needs, kind: HypervisorKind): Readiness =>
  kind === 'xen'
    ? { verdict: 'boots', reason: null }
    : {
        verdict: 'cannot',
        reason: `Its kernel is paravirtual and starts on Xen only, not on ${name}. Install the standard kernel of its distribution, which starts on both, or keep it on Xen with img_hv_type=xen.`,
      };

const verdictOf = (needs: Needs, guest: GuestFacts): Readiness | undefined => {
  const boot = new Set(guest.bootDrivers);
  const all = new Set([...guest.bootDrivers, ...guest.otherDrivers]);
  const [best] = needs.disk;
  if (!needs.disk.some((set) => has(boot, set))) {
    const modules = needs.disk.find((set) => has(all, set));
    if (modules) {
      const known = guest.distribution !== null && FAMILIES.test(guest.distribution.id);
      const how = known ? 'os-omnivisor-inject can make one' : 'its own tools can make one';
      return {
        verdict: 'bootsAfterInjection',
        reason: `Its initial RAM disk lacks ${modules.filter((d) => !boot.has(d)).join(' and ')} for ${needs.name}; ${how} that has it.`,
      };
    }
    // Where the root file system cannot be read, nobody knows what a new one could hold.
    if (guest.otherDrivers.length === 0) return undefined;
    return { verdict: 'cannot', reason: `Its kernel has no ${best!.join(' and ')} for the disks of ${needs.name}.` };
  }
  const notes = [
    ...(has(boot, best!) ? [] : [`On ${needs.name} ${needs.otherwise}.`]),
    ...(guest.otherDrivers.length === 0 || needs.network.some((set) => has(all, set))
      ? []
      : [
          `On ${needs.name} it has no network: it lacks ${needs.network[0]!.filter((d) => !all.has(d)).join(' and ')}.`,
        ]),
  ];
  return { verdict: 'boots', reason: notes.length > 0 ? notes.join(' ') : null };
};

/** On which hypervisors a guest starts. One of which nothing is known is left out, and constrains nothing. */
export const readinessOf = (guest: GuestFacts): ImageReadiness => {
  const readiness: ImageReadiness = {};
  if (guest.kernel === null) return readiness;
  for (const [name, needs] of Object.entries(NEEDS)) {
    const kind = name as HypervisorKind;
    if (guest.kernel.boot === 'xen') readiness[kind] = paravirtualOnly(needs, kind);
    else if (guest.bootDrivers.length > 0) {
      const verdict = verdictOf(needs, guest);
      if (verdict) readiness[kind] = verdict;
    }
  }
  return readiness;
};
