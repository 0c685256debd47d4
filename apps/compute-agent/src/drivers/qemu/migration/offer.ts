import { z } from 'zod';
import { areSame, told } from '../../common/migration/told.js';
import { type GuestSpec, HypervisorError, type ReceiveOptions } from '../../hypervisor-driver.js';
import { type AttachedDisk, DiskBus, type GuestDefinition, Hardware, LocalDisk, markOf, Size } from '../definition.js';
import { devicesFor, isKnownHardware, type MachineTypes } from '../devices.js';
import { directBootOf } from '../direct-boot.js';
import { areDisksOf } from '../disks.js';
import { DISK_FILES, FILES } from '../files.js';
import { GuestCpu, refuseOtherCpu } from '../guest-cpu.js';
import { nicOf } from '../nic-plan.js';
import { isQ35 } from '../slots.js';

const slot = z.number().int().nonnegative().max(31);

/** What the target has to know of a guest, so that it has the same hardware there. Nothing in it names a place. */
const Offer = z.strictObject({
  kind: z.literal('qemu'),
  hardware: Hardware,
  size: Size,
  disks: z.array(LocalDisk.pick({ name: true, format: true, size: true, serial: true, slot: true })),
  attached: z.array(z.strictObject({ diskId: z.string(), bus: DiskBus, serial: z.string(), slot })),
  nics: z.array(z.strictObject({ portId: z.string(), slot })),
  cdroms: z.array(z.enum(['image', 'config'])),
  /** What its vCPUs run on. */
  cpu: GuestCpu,
  /** What its disks lie on, where other hosts have that too. */
  storage: z.string().optional(),
});

/** @param storage what its disks lie on; null when no other host has it */
export const offerOf = (guest: GuestDefinition, cpu: GuestCpu, storage: string | null): string =>
  JSON.stringify({
    kind: 'qemu',
    hardware: Hardware.parse(guest),
    size: Size.parse(guest),
    disks: guest.disks.map(({ name, format, size, serial, slot }) => ({ name, format, size, serial, slot })),
    attached: guest.attached.map(({ diskId, bus, serial, slot }) => ({ diskId, bus, serial, slot })),
    nics: guest.nics.map(({ portId, slot }) => ({ portId, slot })),
    cdroms: guest.cdroms.map(({ boot }) => (boot ? 'image' : 'config')),
    cpu,
    ...(storage === null ? {} : { storage }),
  } satisfies z.input<typeof Offer>);

const OWN_FILES = { root: DISK_FILES.root, ephemeral: DISK_FILES.ephemeral, swap: DISK_FILES.swap } as const;

const mismatch = (what: string) => new HypervisorError('fault', `the offer does not fit the server: ${what}`);

/**
 * The guest as this host would have it. Hardware comes from the offer, as far as it is what image and flavor may have;
 * every place on this host, and every limit, from the spec.
 * @param here what vCPUs run on here, and what disks are on that other hosts have too
 * @throws HypervisorError `fault` when the offer is not one of this server, `unsupported` for a machine not known here, or
 *   a CPU that the guest could not go on with
 */
export const guestFromOffer = (
  spec: GuestSpec,
  text: string,
  { attached, disks }: ReceiveOptions,
  machines: MachineTypes,
  here: { readonly cpu: GuestCpu; readonly storage: string | null },
): GuestDefinition => {
  const offer = told(Offer, text, 'the offer is not one of this backend');
  const allowed = devicesFor(spec, machines);
  const { hardware } = offer;
  if (offer.size.vcpus !== spec.flavor.vcpus || offer.size.memoryMib !== spec.flavor.memory) throw mismatch('its size');
  if (!isKnownHardware(hardware) || hardware.firmware !== allowed.firmware || isQ35(hardware) !== isQ35(allowed))
    throw mismatch('its hardware');
  if (!machines.all.has(hardware.machine))
    throw new HypervisorError('unsupported', `this host has no machine type ${hardware.machine}`);
  refuseOtherCpu(offer.cpu, here.cpu);
  const ports = ({ portId }: { readonly portId: string }) => portId;
  if (!areSame(offer.nics.map(ports), spec.nics.map(ports))) throw mismatch('its ports');
  if (!areDisksOf(spec, offer.disks, offer.cdroms.includes('image'))) throw mismatch('its disks');
  const ids = ({ diskId }: { readonly diskId: string }) => diskId;
  if (!areSame(offer.attached.map(ids), attached.map(ids))) throw mismatch('its disks');
  if (offer.cdroms.includes('config') !== (spec.configDrive !== null)) throw mismatch('its config drive');

  const { wishes, ...rest } = common(spec);
  const guest: GuestDefinition = {
    ...hardware,
    ...offer.size,
    ...rest,
    disks: offer.disks.map((disk) => {
      if (disk.name === 'rescue') throw mismatch('its disks');
      return { ...disk, file: `${FILES.disks}/${OWN_FILES[disk.name]}`, base: null };
    }),
    attached: offer.attached.map((disk) => {
      const known = attached.find(({ diskId }) => diskId === disk.diskId)!;
      return { ...known, bus: disk.bus, serial: disk.serial, slot: disk.slot } satisfies AttachedDisk;
    }),
    cdroms: offer.cdroms.map((kind) => ({
      file: `${FILES.disks}/${kind === 'image' ? DISK_FILES.base : DISK_FILES.configDrive}`,
      boot: kind === 'image',
    })),
    nics: [],
    shared: disks === 'shared' || (disks === 'auto' && offer.storage !== undefined && offer.storage === here.storage),
    wishes,
  };
  const nics = offer.nics.map(({ portId, slot }) =>
    nicOf(guest, spec.nics.find((nic) => nic.portId === portId)!, slot),
  );
  return { ...guest, nics };
};

const common = (spec: GuestSpec) => ({
  mark: markOf(spec),
  name: spec.name,
  phase: 'incoming' as const,
  change: null,
  suspended: false,
  directBoot: directBootOf(spec),
  rescue: null,
  before: null,
  adopted: null,
  wishes: { properties: spec.image.properties, extraSpecs: spec.flavor.extraSpecs },
});
