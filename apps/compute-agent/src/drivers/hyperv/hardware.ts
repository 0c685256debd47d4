import { type HardwareWishes, hardwareWishesOf, type MiB, mib } from '@omnivisor/contracts';
import { ANY, refusesAllBut, type ServedWishes } from '../common/wishes.js';
import { type GuestNic, type GuestSpec, HypervisorError } from '../hypervisor-driver.js';

export type SecureBootTemplate = 'MicrosoftWindows' | 'MicrosoftUEFICertificateAuthority';

/** What a guest is made of, as Hyper-V counts it. */
export interface Hardware {
  readonly generation: 1 | 2;
  /** Null: secure boot is off. */
  readonly secureBoot: SecureBootTemplate | null;
}

export interface Memory {
  readonly startup: MiB;
  /** Null: it has all of it all the time. */
  readonly dynamic: { readonly minimum: MiB; readonly maximum: MiB } | null;
}

const refuse = (what: string, native?: string): never => {
  throw new HypervisorError('unsupported', `Hyper-V cannot serve ${what}`, native);
};

export const SERVED: ServedWishes = {
  ...{ hw_architecture: /^(x86_64|i686)$/, hw_vm_mode: /^hvm$/, hw_machine_type: ANY, hw_firmware_type: ANY },
  ...{ os_secure_boot: ANY, 'os:secure_boot': ANY },
  ...{ hw_disk_bus: /^(ide|scsi)$/, hw_vif_model: /^(netvsc|hyperv)$/, hw_video_model: /^hyperv$/ },
};

/** @throws HypervisorError `unsupported` for a wish that no guest of Hyper-V is granted */
export const refuseWishes = refusesAllBut(SERVED, refuse);

/**
 * @param fallback generation of an image that does not say
 * @throws HypervisorError `unsupported` for a wish that cannot be served; none is dropped silently
 */
export const hardwareFor = ({ image, flavor, directBoot, disks }: GuestSpec, fallback: 1 | 2): Hardware => {
  const { properties } = image;
  refuseWishes(properties, flavor.extraSpecs);
  if (directBoot) refuse('a kernel outside of the disk');
  // A host of Windows has no tools for file systems of Linux, and a disk that was bought formatted is not given without.
  if (disks.ephemeral && !disks.ephemeral.source) refuse('an ephemeral disk');
  if (disks.swap > 0) refuse('a swap disk');

  const secureBoot = secureBootOf({ properties, extraSpecs: flavor.extraSpecs });
  const generation = generationOf(properties, secureBoot !== null, fallback);
  const busOfGeneration = generation === 1 ? 'ide' : 'scsi';
  if ((properties.hw_disk_bus ?? busOfGeneration) !== busOfGeneration)
    refuse(`hw_disk_bus=${properties.hw_disk_bus} on generation ${generation}: its root is on ${busOfGeneration}`);
  return { generation, secureBoot };
};

const secureBootOf = ({ properties, extraSpecs }: HardwareWishes): Hardware['secureBoot'] => {
  if (properties.os_secure_boot !== 'required' && extraSpecs['os:secure_boot'] !== 'required') return null;
  return properties.os_type === 'windows' ? 'MicrosoftWindows' : 'MicrosoftUEFICertificateAuthority';
};

/** Secure boot where one asks for it otherwise than the other did; null: the guest keeps what it has. */
export const secureBootChange = (
  from: HardwareWishes | null,
  to: HardwareWishes | null,
): Pick<Hardware, 'secureBoot'> | null => {
  if (!from || !to || secureBootOf(from) === secureBootOf(to)) return null;
  return { secureBoot: secureBootOf(to) };
};

/**
 * What a guest is asked to be with another flavor.
 * @param wishes null: it is not known, so what would be changed could not be put back
 * @throws HypervisorError `unsupported`
 */
export const resizedWishes = (
  wishes: HardwareWishes | null,
  { extraSpecs }: GuestSpec['flavor'],
  generation: Hardware['generation'],
): HardwareWishes | null => {
  refuseWishes({}, extraSpecs);
  const isRequired = secureBootOf({ properties: {}, extraSpecs }) !== null;
  if (isRequired && generation === 1)
    throw new HypervisorError('unsupported', 'a resize does not change the firmware of a guest (os:secure_boot)');
  if (isRequired && !wishes) refuseUnknown('os:secure_boot');
  return wishes && { ...wishes, extraSpecs };
};

/**
 * What a guest is asked to be with a rescue image: what that does not say, its own image does.
 * @param wishes null: it is not known
 * @throws HypervisorError `unsupported`
 */
export const rescuedWishes = (
  wishes: HardwareWishes | null,
  image: GuestSpec['image'],
  isOwnImage: boolean,
): HardwareWishes | null => {
  const { properties } = hardwareWishesOf(image, { extraSpecs: {} });
  if (wishes) return { ...wishes, properties: { ...wishes.properties, ...properties } };
  if (secureBootOf({ properties, extraSpecs: {} }) && !isOwnImage) refuseUnknown('os_secure_boot');
  return null;
};

const refuseUnknown = (name: string): never => {
  throw new HypervisorError(
    'unsupported',
    `it is not known what secure boot the guest has, so it is not changed (${name})`,
  );
};

const generationOf = (properties: Readonly<Record<string, string>>, secure: boolean, fallback: 1 | 2): 1 | 2 => {
  const { hw_machine_type: machine, hw_firmware_type: firmware } = properties;
  const byMachine = machine === undefined ? null : { 'hyperv-gen1': 1 as const, 'hyperv-gen2': 2 as const }[machine];
  if (byMachine === undefined) return refuse(`hw_machine_type=${machine}`);
  const byFirmware = firmware === undefined ? null : { bios: 1 as const, uefi: 2 as const }[firmware];
  if (byFirmware === undefined) return refuse(`hw_firmware_type=${firmware}`);
  if (byMachine && byFirmware && byMachine !== byFirmware) return refuse(`hw_firmware_type=${firmware} on ${machine}`);
  const generation = byMachine ?? byFirmware ?? (secure ? 2 : fallback);
  return secure && generation === 1 ? refuse('secure boot on generation 1') : generation;
};

/** Hyper-V counts memory in steps of 2 MiB. @param ratio 1: static; 2: starts with half and gets the rest when it asks */
export const memoryFor = (memory: MiB, ratio: number): Memory => {
  const even = (amount: number) => mib(Math.max(32, Math.ceil(amount / 2) * 2));
  if (ratio <= 1) return { startup: even(memory), dynamic: null };
  const startup = even(memory / ratio);
  return { startup, dynamic: { minimum: startup, maximum: even(memory) } };
};

/** Where a port ends: a switch of the host, and a VLAN on it or none. */
export interface Wire {
  readonly switch: string;
  readonly vlan: number | null;
}

/** @throws HypervisorError `unsupported` when the port cannot be served as it is asked for */
export const wireFor = (nic: GuestNic, switches: Readonly<Record<string, string>>): Wire => {
  const { attachment } = nic;
  if (nic.model !== null && !/^(netvsc|hyperv)$/.test(nic.model)) refuse(`hw_vif_model=${nic.model}`);
  if (attachment.kind !== 'provider') return refuse('a network that is not flat or vlan');
  const name = switches[attachment.physicalNetwork];
  if (!name) return refuse('a physical network that is mapped to no switch', attachment.physicalNetwork);
  return { switch: name, vlan: attachment.networkType === 'vlan' ? attachment.segmentationId : null };
};

/** As Hyper-V writes MAC addresses. */
export const plainMac = (mac: string): string => mac.replaceAll(':', '').toUpperCase();
