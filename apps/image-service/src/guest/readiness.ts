import type { BootNeed, GuestFacts, HypervisorKind, ImageReadiness, Readiness } from '@omnivisor/contracts';
import { deviceFor } from '../injection/throwaway-guest.js';
import { windowsReadiness } from './windows/windows-readiness.js';

/** What a root disk may be to its guest. */
interface Device {
  readonly drivers: readonly string[];
  /** Value of the property that gives it. */
  readonly value: string;
  /** Another property that goes with that. */
  readonly besides?: string;
  /** Only machines that have BIOS have it. */
  readonly bios?: true;
}

interface Hypervisor {
  readonly name: string;
  /** The first is what a machine has when nothing is asked for. */
  readonly disk: readonly [Device, ...Device[]];
  readonly network: readonly (readonly string[])[];
  /** The property that chooses the disk, and what of it gives the first one and no other. */
  readonly chooser: { readonly property: string; readonly fails: BootNeed['fails'] };
  /** Set when the first disk cannot be used and another can, where that needs no property. */
  readonly otherwise?: string;
  /** Of a disk that starts by UEFI only. */
  readonly uefi: BootNeed & { readonly note?: string };
  /** Of a disk that starts by BIOS only; none where there is nothing else. */
  readonly bios?: BootNeed;
}

const FIRMWARE = 'hw_firmware_type';
/** Where a machine has BIOS unless it is asked for UEFI. */
const BIOS_FIRST = {
  uefi: { property: FIRMWARE, values: ['uefi'], fails: ['bios', null] },
  bios: { property: FIRMWARE, values: ['bios'], fails: ['uefi'] },
};
const ON_XEN: Device = { drivers: ['xen_blkfront'], value: 'xen' };
const XEN_HVM: Device = { drivers: ['ata_piix'], value: 'hvm' };
const XEN_MODE = { property: 'hw_vm_mode', fails: ['xen', 'pvh'] };
const XEN_NETWORK = [['xen_netfront'], ['e1000'], ['8139cp']];

const HYPERVISORS: Readonly<Record<HypervisorKind, Hypervisor>> = {
  qemu: {
    name: 'QEMU',
    disk: [
      { drivers: ['virtio_pci', 'virtio_blk'], value: 'virtio' },
      { drivers: ['virtio_pci', 'virtio_scsi'], value: 'scsi' },
      { drivers: ['ata_piix'], value: 'ide' },
      { drivers: ['ahci'], value: 'sata', besides: 'hw_machine_type=q35' },
    ],
    network: [['virtio_net'], ['e1000'], ['e1000e']],
    chooser: { property: 'hw_disk_bus', fails: ['virtio', null] },
    ...BIOS_FIRST,
  },
  xen: {
    name: 'Xen',
    disk: [ON_XEN, { ...XEN_HVM, bios: true }],
    network: XEN_NETWORK,
    chooser: XEN_MODE,
    uefi: { property: 'hw_vm_mode', values: ['xen', 'pvh'], fails: ['hvm'], note: ', which need no firmware' },
  },
  xenserver: {
    name: 'XenServer',
    disk: [ON_XEN, XEN_HVM],
    network: XEN_NETWORK,
    chooser: XEN_MODE,
    otherwise: 'its disk is slow, for it has no xen_blkfront when it starts',
    ...BIOS_FIRST,
  },
  // No BusLogic: it has none for guests of 64 bits.
  vsphere: {
    name: 'vSphere',
    disk: [
      { drivers: ['vmw_pvscsi'], value: 'vmpvscsi' },
      { drivers: ['mptsas'], value: 'lsisas1068' },
      { drivers: ['mptspi'], value: 'lsilogic' },
    ],
    network: [['vmxnet3'], ['e1000'], ['e1000e']],
    chooser: { property: 'hw_scsi_model', fails: ['vmpvscsi', null] },
    ...BIOS_FIRST,
  },
  // Which generation its hosts make of an image that does not say is a setting of theirs.
  hyperv: {
    name: 'Hyper-V',
    disk: [
      { drivers: ['hv_vmbus', 'hv_storvsc'], value: 'uefi' },
      { drivers: ['ata_piix'], value: 'bios', bios: true },
    ],
    network: [['hv_vmbus', 'hv_netvsc'], ['tulip']],
    chooser: { property: FIRMWARE, fails: ['uefi'] },
    uefi: {
      ...{ property: FIRMWARE, values: ['uefi'], fails: ['bios'] },
      note: ' where its hosts make generation 1 of what does not say',
    },
    bios: BIOS_FIRST.bios,
  },
};

/** Their initial RAM disk can be made anew by tools that we know. */
const FAMILIES = /^(debian|ubuntu|rhel|centos|rocky|almalinux|fedora|ol)$/;

const has = (drivers: ReadonlySet<string>, set: readonly string[]) => set.every((d) => drivers.has(d));
const setting = (property: string, values: readonly string[]) => `${property}=${values.join(' or ')}`;

const startsByUefiOnly = ({ firmware }: GuestFacts) => firmware.includes('uefi') && !firmware.includes('bios');
/** Firmware reads a loader from FAT only, and some looks for it at other places than the usual one. */
const startsByBiosOnly = ({ firmware, fileSystems }: GuestFacts) =>
  firmware.includes('bios') &&
  !firmware.includes('uefi') &&
  !fileSystems.some((kind) => kind === 'vfat' || kind === 'damaged');

const paravirtualOnly = ({ name }: Hypervisor, kind: HypervisorKind): Readiness =>
  kind === 'xen'
    ? {
        ...{ verdict: 'boots', reason: null },
        // It may be one for PVH, too.
        needs: [{ property: 'hw_vm_mode', values: ['xen', 'pvh'], fails: ['hvm'] }],
      }
    : {
        verdict: 'cannot',
        reason: `Its kernel is paravirtual and starts on Xen only, not on ${name}. Install the standard kernel of its distribution, which starts on both, or keep it on Xen with img_hv_type=xen.`,
      };

const notReady = (
  { name, disk: [best] }: Hypervisor,
  devices: readonly Device[],
  guest: GuestFacts,
): Readiness | undefined => {
  const boot = new Set(guest.bootDrivers);
  const all = new Set([...guest.bootDrivers, ...guest.otherDrivers]);
  const possible = devices.find(({ drivers }) => has(all, drivers));
  if (possible) {
    const id = guest.distribution?.id ?? '';
    const injects = FAMILIES.test(id) && possible === best && deviceFor(guest.bootDrivers) !== undefined;
    const how = injects ? 'os-omnivisor-inject can make one' : 'its own tools can make one';
    const proof = injects && id !== 'debian' ? ' (tried on Debian only)' : '';
    return {
      verdict: 'bootsAfterInjection',
      reason: `Its initial RAM disk lacks ${possible.drivers.filter((d) => !boot.has(d)).join(' and ')} for ${name}; ${how} that has it${proof}.`,
    };
  }
  // Where the root file system cannot be read, nobody knows what a new one could hold.
  if (guest.otherDrivers.length === 0) return undefined;
  return { verdict: 'cannot', reason: `Its kernel has no ${best.drivers.join(' and ')} for the disks of ${name}.` };
};

const verdictOf = (hypervisor: Hypervisor, guest: GuestFacts): Readiness | undefined => {
  const { name, disk, network, chooser, otherwise, uefi, bios } = hypervisor;
  const boot = new Set(guest.bootDrivers);
  const all = new Set([...guest.bootDrivers, ...guest.otherDrivers]);
  const byUefi = startsByUefiOnly(guest);
  const devices = disk.filter((device) => !(byUefi && device.bios));
  const found = devices.filter(({ drivers }) => has(boot, drivers));
  if (found.length === 0) return notReady(hypervisor, devices, guest);

  const firmware = byUefi ? uefi : startsByBiosOnly(guest) ? bios : undefined;
  const needs = firmware ? [{ property: firmware.property, values: firmware.values, fails: firmware.fails }] : [];
  const notes = byUefi
    ? [`Its disk starts by UEFI only: on ${name} it needs ${setting(uefi.property, uefi.values)}${uefi.note ?? ''}.`]
    : [];
  // What needs no firmware needs no loader.
  if (guest.firmware.length === 0 && bios) notes.push('No boot loader was found on its disk.');
  if (found[0] !== disk[0]) {
    const { property, fails } = chooser;
    const values = found.map(({ value }) => value);
    const missing = disk[0].drivers.filter((d) => !boot.has(d)).join(' and ');
    const words = found.map(({ value, besides }) => (besides ? `${value} (with ${besides})` : value));
    const what = otherwise ?? `it needs ${setting(property, words)}, for it has no ${missing} when it starts`;
    if (firmware?.property !== property) needs.push({ property, values, fails });
    notes.push(`On ${name} ${what}.`);
  }
  if (guest.otherDrivers.length > 0 && !network.some((set) => has(all, set)))
    notes.push(`On ${name} it has no network: it lacks ${network[0]!.filter((d) => !all.has(d)).join(' and ')}.`);
  return {
    ...{ verdict: 'boots', reason: notes.length > 0 ? notes.join(' ') : null },
    ...(needs.length > 0 ? { needs } : {}),
  };
};

/** On which hypervisors a guest starts. One of which nothing is known is left out, and constrains nothing. */
export const readinessOf = (guest: GuestFacts): ImageReadiness => {
  if (guest.windows) return windowsReadiness(guest);
  const readiness: ImageReadiness = {};
  if (guest.kernel === null) return readiness;
  for (const [name, hypervisor] of Object.entries(HYPERVISORS)) {
    const kind = name as HypervisorKind;
    if (guest.kernel.boot === 'xen') readiness[kind] = paravirtualOnly(hypervisor, kind);
    else if (guest.bootDrivers.length > 0) {
      const verdict = verdictOf(hypervisor, guest);
      if (verdict) readiness[kind] = verdict;
    }
  }
  return readiness;
};
