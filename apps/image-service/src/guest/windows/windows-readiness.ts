import type { BootNeed, GuestFacts, HypervisorKind, ImageReadiness, Readiness } from '@omnivisor/contracts';

/** What a disk, or a network card, may be to a Windows. */
interface Device {
  readonly drivers: readonly string[];
  /** Value of the property that gives it. */
  readonly value: string;
  /** Another property that goes with that, or does the same. */
  readonly besides?: string;
  /** The only firmware of machines that have it, and the first build that starts there. */
  readonly firmware?: 'bios' | 'uefi';
  readonly leastBuild?: number;
  /** Set where other properties make of the same value a device that other drivers are for. */
  readonly ambiguous?: true;
}

interface Hypervisor {
  readonly name: string;
  /** The first is what a machine has when nothing is asked for. */
  readonly disks: readonly [Device, ...Device[]];
  readonly diskProperty: string;
  readonly cards: readonly [Device, ...Device[]];
  /** What brings the drivers of its own devices. */
  readonly tools: string;
  /** Of a disk that starts by UEFI only; none where there is no UEFI. */
  readonly uefi?: BootNeed & { readonly note?: string };
  /** Modes that have no machine for it. */
  readonly mode?: BootNeed;
  /** Drivers that its disk is slow without. */
  readonly fast?: readonly string[];
}

const FIRMWARE = 'hw_firmware_type';
const UEFI: BootNeed = { property: FIRMWARE, values: ['uefi'], fails: ['bios', null] };
const BIOS: BootNeed = { property: FIRMWARE, values: ['bios'], fails: ['uefi'] };
/** A paravirtual kernel, which no Windows has, starts in all others. */
const HVM: BootNeed = { property: 'hw_vm_mode', values: ['hvm'], fails: ['xen', 'pvh'] };
const IDE: Device = { drivers: ['intelide', 'atapi'], value: 'ide' };
const XEN_DISK = ['xenbus', 'xenvbd'];
const XEN_CARD: Device = { drivers: ['xenbus', 'xenvif', 'xennet'], value: 'netfront' };
/** Its firmware reads the disk through IDE until the guest's own drivers have it. */
const XEN_DISKS: Hypervisor['disks'] = [IDE, { drivers: XEN_DISK, value: 'ide' }];
const E1000: Device = { drivers: ['e1000'], value: 'e1000' };
const E1000E: Device = { drivers: ['e1000e'], value: 'e1000e' };

const HYPERVISORS: Readonly<Record<HypervisorKind, Hypervisor>> = {
  qemu: {
    name: 'QEMU',
    disks: [
      { drivers: ['viostor'], value: 'virtio' },
      { drivers: ['vioscsi'], value: 'scsi', ambiguous: true },
      IDE,
      { drivers: ['storahci'], value: 'sata', besides: 'with hw_machine_type=q35' },
      { drivers: ['msahci'], value: 'sata', besides: 'with hw_machine_type=q35' },
      { drivers: ['lsi_sas'], value: 'scsi', besides: 'with hw_scsi_model=lsisas1068', ambiguous: true },
      { drivers: ['pvscsi'], value: 'scsi', besides: 'with hw_scsi_model=vmpvscsi', ambiguous: true },
    ],
    diskProperty: 'hw_disk_bus',
    cards: [{ drivers: ['netkvm'], value: 'virtio' }, E1000E, E1000],
    tools: 'virtio-win',
    uefi: UEFI,
  },
  xen: {
    name: 'Xen',
    disks: XEN_DISKS,
    diskProperty: 'hw_disk_bus',
    cards: [XEN_CARD],
    tools: 'the Windows PV drivers of Xen',
    // Its hosts make paravirtual domains of what does not say.
    mode: { ...HVM, fails: [...HVM.fails, null] },
    fast: XEN_DISK,
  },
  xenserver: {
    name: 'XenServer',
    disks: XEN_DISKS,
    diskProperty: 'hw_disk_bus',
    cards: [XEN_CARD, E1000],
    tools: 'XenServer VM Tools',
    uefi: UEFI,
    mode: HVM,
    fast: XEN_DISK,
  },
  vsphere: {
    name: 'vSphere',
    disks: [
      { drivers: ['pvscsi'], value: 'vmpvscsi' },
      { drivers: ['lsi_sas'], value: 'lsisas1068', besides: 'as os_type=windows has it' },
      { drivers: ['lsi_scsi'], value: 'lsilogic' },
    ],
    diskProperty: 'hw_scsi_model',
    cards: [{ ...E1000E, besides: 'as os_type=windows has it' }, { drivers: ['vmxnet3'], value: 'vmxnet3' }, E1000],
    tools: 'VMware Tools',
    uefi: UEFI,
  },
  // Which generation its hosts make of an image that does not say is a setting of theirs.
  hyperv: {
    name: 'Hyper-V',
    disks: [
      { drivers: ['vmbus', 'storvsc'], value: 'uefi', firmware: 'uefi', leastBuild: 9_200 },
      { ...IDE, value: 'bios', firmware: 'bios' },
    ],
    diskProperty: FIRMWARE,
    cards: [{ drivers: ['vmbus', 'netvsc'], value: 'netvsc' }],
    tools: 'the integration services of Hyper-V',
    uefi: {
      ...{ property: FIRMWARE, values: ['uefi'], fails: ['bios'] },
      note: ' where its hosts make generation 1 of what does not say',
    },
  },
};

const LEFT: Readonly<Record<string, string>> = {
  hibernated:
    'It was hibernated, as fast startup does, too, and cannot go on elsewhere: shut it down with shutdown /s /t 0 before its disk is taken.',
  dirty: 'Its file system was not closed, and is checked when it starts.',
};

const setting = (property: string, values: readonly string[]) => `${property}=${values.join(' or ')}`;
const worded = ({ value, besides }: Device) => (besides ? `${value} (${besides})` : value);
const unique = <T>(items: readonly T[]): T[] => [...new Set(items)];

/** What has to hold, by property: where two say something of one, both count. */
const merged = (needs: readonly BootNeed[]): BootNeed[] =>
  unique(needs.map((n) => n.property)).map((property) => {
    const all = needs.filter((n) => n.property === property);
    const values = all[0]!.values.filter((value) => all.every((n) => n.values.includes(value)));
    return { property, values, fails: unique(all.flatMap((n) => n.fails)) };
  });

const verdictOf = (hypervisor: Hypervisor, guest: GuestFacts): Readiness => {
  const { name, disks, diskProperty, cards, tools, uefi, mode, fast } = hypervisor;
  const boot = new Set(guest.bootDrivers);
  const all = new Set([...guest.bootDrivers, ...guest.otherDrivers]);
  const starts = ({ drivers }: Device) => drivers.every((d) => boot.has(d));
  const [byUefi, byBios] = [guest.firmware.includes('uefi'), guest.firmware.includes('bios')];
  const only = byUefi === byBios ? undefined : byUefi ? 'uefi' : 'bios';
  const build = buildOf(guest) ?? Number.POSITIVE_INFINITY;

  if (only === 'uefi' && !uefi)
    return {
      verdict: 'cannot',
      reason: `Its disk starts by UEFI only, which ${name} does not have for hvm, and Windows starts in no other mode.`,
    };
  const possible = disks.filter(
    ({ firmware, leastBuild = 0 }) => (!only || !firmware || firmware === only) && build >= leastBuild,
  );
  const found = possible.filter(starts);
  if (found.length === 0) {
    const wanted = (possible[0] ?? disks[0]).drivers;
    const lacks = wanted.filter((d) => !boot.has(d)).join(' and ');
    const has = wanted.every((d) => all.has(d))
      ? ' It has the files, which is not enough for the disk it starts from.'
      : '';
    return {
      verdict: 'cannot',
      reason: `When it starts it has no ${lacks} for the disks of ${name}: install ${tools} where it runs now.${has}`,
    };
  }

  const needs: BootNeed[] = [];
  const notes: string[] = [];
  if (only === 'uefi' && uefi) {
    needs.push({ property: uefi.property, values: uefi.values, fails: uefi.fails });
    notes.push(
      `Its disk starts by UEFI only: on ${name} it needs ${setting(FIRMWARE, uefi.values)}${uefi.note ?? ''}.`,
    );
  }
  if (only === 'bios' && uefi) needs.push(BIOS);
  if (mode) needs.push(mode);
  if (guest.firmware.length === 0) notes.push('No boot loader was found on its disk.');

  const [first] = disks;
  const values = unique(found.map(({ value }) => value));
  const hopeless = disks.filter(({ value, ambiguous }) => !ambiguous && !values.includes(value));
  const fails = [...unique(hopeless.map(({ value }) => value)), ...(values.includes(first.value) ? [] : [null])];
  if (diskProperty === FIRMWARE) {
    // Firmware and disk are one choice, of which nobody knows how it is made where nothing is said.
    if (!only && hopeless.length > 0) needs.push({ property: FIRMWARE, values, fails: hopeless.map((d) => d.value) });
  } else if (fails.length > 0) needs.push({ property: diskProperty, values, fails });
  if (!values.includes(first.value) && !(diskProperty === FIRMWARE && only)) {
    const lacks = first.drivers.filter((d) => !boot.has(d)).join(' and ');
    const words = unique(found.map(worded));
    notes.push(
      `On ${name} it needs ${setting(diskProperty, words)}, for it has no ${lacks} when it starts (${tools}).`,
    );
  }
  if (fast && !fast.every((d) => boot.has(d)))
    notes.push(
      `On ${name} its disk is slow, for it has no ${fast.filter((d) => !boot.has(d)).join(' and ')} (${tools}).`,
    );

  const usable = cards.filter(({ drivers }) => drivers.every((d) => all.has(d)));
  if (!usable.includes(cards[0])) {
    const lacks = cards[0].drivers.filter((d) => !all.has(d)).join(' and ');
    const what = usable[0] ? `its network needs hw_vif_model=${worded(usable[0])}` : 'it has no network';
    notes.push(`On ${name} ${what}, for it has no ${lacks} (${tools}).`);
  }
  const left = LEFT[guest.windows?.left ?? ''];
  if (left) notes.push(left);
  const what = merged(needs);
  return {
    ...{ verdict: 'boots', reason: notes.length > 0 ? notes.join(' ') : null },
    ...(what.length > 0 ? { needs: what } : {}),
  };
};

const buildOf = ({ windows }: GuestFacts): number | null => {
  const build = Number.parseInt(windows?.build ?? '', 10);
  return Number.isNaN(build) ? null : build;
};

/** Windows Vista: what was before names its drivers and its loader otherwise. */
const OLDEST = 6_000;

/** Where a Windows starts with the drivers that it starts with: nothing is put into one. */
export const windowsReadiness = (guest: GuestFacts): ImageReadiness => {
  if ((buildOf(guest) ?? OLDEST) < OLDEST) return {};
  // A driver that was installed last may be in the logs only, of which nothing is read.
  const isWhole = guest.windows?.left === 'clean';
  return Object.fromEntries(
    Object.entries(HYPERVISORS)
      .map(([kind, hypervisor]) => [kind, verdictOf(hypervisor, guest)] as const)
      .filter(([, { verdict }]) => isWhole || verdict !== 'cannot'),
  );
};
