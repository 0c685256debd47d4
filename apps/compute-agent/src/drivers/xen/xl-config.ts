import { HypervisorError } from '../hypervisor-driver.js';
import { type AttachedDisk, type Definition, type DomainType, domainOf, type Nic } from './definition.js';
import { deviceOf } from './guard.js';

/**
 * A string of xl's configuration language, which knows no way to write a quote in one.
 * @throws HypervisorError `fault` for what it cannot hold
 */
export const text = (value: string): string => {
  if (!/^[\x20-\x7e]*$/.test(value))
    throw new HypervisorError('fault', 'a setting holds characters that xl cannot read');
  if (!value.includes('"') && !value.includes('\\')) return `"${value}"`;
  if (!value.includes("'") && !value.includes('\\')) return `'${value}'`;
  throw new HypervisorError('fault', 'a setting holds characters that xl cannot read');
};

const list = (values: readonly string[]): string => `[${values.map(text).join(', ')}]`;

/** A disk as xl reads it; `target` is last, and takes the rest of the line. */
export const diskSpec = (path: string, device: string, readOnly = false): string => {
  if (!/^\/[\x20-\x7e]+$/.test(path)) throw new HypervisorError('unsupported', 'the disk has no path that xl can read');
  return `format=raw,vdev=${device},access=${readOnly ? 'ro' : 'rw'},target=${path}`;
};

/** An interface as `xl network-attach` takes it, part by part. */
export const nicSpec = ({ portId, mac, mtu, bridge }: Nic, type: DomainType): string[] => [
  `mac=${mac}`,
  `bridge=${bridge}`,
  `vifname=${deviceOf(portId)}`,
  ...(mtu === 1500 ? [] : [`mtu=${mtu}`]),
  // Else it has an emulated one beside it, whose device no filter knows.
  ...(type === 'hvm' ? ['type=vif'] : []),
];

/** Names of its own disks; what is attached comes after them, the config drive last. */
const DEVICES = { root: 'xvda', second: 'xvdb', ephemeral: 'xvdc', swap: 'xvdd', config: 'xvdz' } as const;
const ATTACHED = [...'efghijklmnopqrstuvwxy'].map((letter) => `xvd${letter}`);

/** Those that a guest with such disks needs beside that of its root. @param swap MiB */
export const devicesFor = (hasEphemeral: boolean, swap: number): string[] => [
  ...(hasEphemeral ? [DEVICES.ephemeral] : []),
  ...(swap > 0 ? [DEVICES.swap] : []),
];

/** @throws HypervisorError `noResources` when there is none */
export const freeDevice = (disks: readonly AttachedDisk[]): string => {
  const device = ATTACHED.find((name) => disks.every((disk) => disk.device !== name));
  if (!device) throw new HypervisorError('noResources', 'a guest of Xen has no place for another disk');
  return device;
};

/** The number that Xen gives a virtual disk: xvda to xvdp as SCSI disks of old, those after by their own scheme. */
export const deviceNumber = (device: string): number => {
  const index = device.charCodeAt(3) - 97;
  return index < 16 ? (202 << 8) | (index << 4) : (1 << 28) | (index << 8);
};

export interface NamedDisk {
  /** `root`, `ephemeral`, `swap`, `config`, or the id of an attached one. */
  readonly name: string;
  readonly device: string;
  readonly path: string;
  readonly readOnly: boolean;
}

/** An adopted guest that is given back is started again without the folder. */
const pathOf = ({ adopted, shared }: Definition, folder: string, file: string): string =>
  adopted?.files[file] ?? `${folder}/${shared ? 'disks/' : ''}${file}`;

/** @param folder of the guest in dom0 */
export const disksOf = (guest: Definition, folder: string): NamedDisk[] => {
  const own = (name: string, device: string, file: string | null | undefined, readOnly = false): NamedDisk[] =>
    file ? [{ name, device, path: pathOf(guest, folder, file), readOnly }] : [];
  const { rescue } = guest;
  return [
    ...(rescue ? own('rescue', DEVICES.root, rescue.boot.root) : []),
    ...own('root', rescue ? DEVICES.second : DEVICES.root, guest.boot.root),
    ...own('ephemeral', DEVICES.ephemeral, guest.ephemeral),
    ...own('swap', DEVICES.swap, guest.swap),
    ...guest.disks.map(({ diskId, device, path, readOnly }) => ({ name: diskId, device, path, readOnly })),
    ...own('config', DEVICES.config, rescue ? (rescue.config ?? guest.config) : guest.config, true),
  ];
};

/** The domain of a guest in xl's configuration language. @param folder of the guest in dom0 */
export const xlConfig = (guest: Definition, folder: string): string => {
  const { type, boot } = guest.rescue ?? guest;
  const { name, uuid } = domainOf(guest);
  const settings: Record<string, string | number> = {
    name: text(name),
    uuid: text(uuid),
    type: text(type),
    memory: guest.size.memory,
    maxmem: guest.size.memory,
    vcpus: guest.size.vcpus,
    disk: list(disksOf(guest, folder).map(({ path, device, readOnly }) => diskSpec(path, device, readOnly))),
    vif: list([...guest.nics.map((nic) => nicSpec(nic, type).join(',')), ...(guest.adopted?.nics ?? [])]),
    // A guest that ends stays off until somebody wants it on; one that resets itself comes back by itself.
    on_poweroff: text('destroy'),
    on_reboot: text('restart'),
    on_watchdog: text('restart'),
    on_crash: text('preserve'),
    ...bootSettings(boot, type, (file) => pathOf(guest, folder, file)),
    ...(type === 'hvm' ? { serial: text('pty'), vnc: 0, boot: text('c') } : {}),
  };
  return Object.entries(settings)
    .map(([name, value]) => `${name} = ${value}\n`)
    .join('');
};

const bootSettings = (
  { kernel, ramdisk, commandLine }: Definition['boot'],
  type: Definition['type'],
  path: (file: string) => string,
): Record<string, string> => {
  if (kernel)
    return {
      kernel: text(path(kernel)),
      ...(ramdisk ? { ramdisk: text(path(ramdisk)) } : {}),
      ...(commandLine ? { cmdline: text(commandLine) } : {}),
    };
  return type === 'hvm' ? {} : { bootloader: text('pygrub') };
};
