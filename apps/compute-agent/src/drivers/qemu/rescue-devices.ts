import { type GuestSpec, HypervisorError } from '../hypervisor-driver.js';
import { policyOf } from './dedicated-cpus.js';
import { type GuestDefinition, RescueDevices } from './definition.js';
import { devicesFor, type MachineTypes, refuseUnserved, SCSI_CONTROLLERS } from './devices.js';
import { sizeOf } from './sizes.js';
import { isQ35 } from './slots.js';

type Said = Readonly<Record<string, string>>;
type Guest = Pick<GuestDefinition, keyof RescueDevices | 'machine' | 'firmware' | 'scsiController' | 'tpm' | 'wishes'>;

/** Properties of a rescue image that the guest follows while it is rescued. */
const FOLLOWED: Readonly<Record<string, keyof RescueDevices>> = {
  hw_vif_model: 'nicModel',
  hw_video_model: 'video',
  hw_pointer_model: 'tablet',
  hw_cdrom_bus: 'cdromBus',
  hw_watchdog_action: 'watchdog',
  hw_qemu_guest_agent: 'hasAgent',
  os_type: 'windows',
};

/** Where flavor and image may say it, the flavor decides. */
const OF_FLAVOR = /^hw_(watchdog|tpm)_/;

/** Those that say what a guest goes on to be: whether it is that already. */
const KEPT: Readonly<Record<string, (guest: Guest, value: string) => boolean>> = {
  hw_machine_type: (guest, value) =>
    value === 'pc' || value === 'q35' ? isQ35(guest) === (value === 'q35') : value === guest.machine,
  hw_firmware_type: ({ firmware }, value) => value === (firmware === 'bios' ? 'bios' : 'uefi'),
  os_secure_boot: ({ firmware }, value) => value !== 'required' || firmware === 'secureBoot',
  hw_scsi_model: ({ scsiController }, value) => SCSI_CONTROLLERS[value] === scsiController,
  hw_tpm_version: ({ tpm }) => tpm !== null,
  hw_tpm_model: ({ tpm }, value) => tpm === null || value === tpm,
};

const ofSize = (name: string) => /^hw_(cpu_|mem_page_size$|locked_memory$)/.test(name);

const sizeWith = (properties: Said, { image, flavor }: Pick<GuestSpec, 'image' | 'flavor'>): string => {
  const spec = { image: { ...image, properties }, flavor };
  const { topology, hugePages } = sizeOf(spec);
  const { policy, threads } = policyOf(spec);
  return JSON.stringify([topology, hugePages, policy, threads]);
};

/**
 * What the guest has while it is rescued. It stays the machine that it is, so a rescue image changes what comes and goes
 * with a start. What that image says as the guest's own did is no difference; what it does not say stays.
 * @throws HypervisorError `unsupported` for another machine, and for what nothing here serves
 */
export const rescueDevices = (
  { image, flavor }: Pick<GuestSpec, 'image' | 'flavor'>,
  guest: Guest,
  machines: MachineTypes,
): RescueDevices => {
  const own = guest.wishes.properties;
  const said = Object.entries(image.properties).filter(
    ([name, value]) =>
      value !== own[name] && !(OF_FLAVOR.test(name) && flavor.extraSpecs[name.replace('_', ':')] !== undefined),
  );
  refuseUnserved(Object.fromEntries(said), {});
  for (const [name, value] of said) {
    const isOther = ofSize(name)
      ? sizeWith({ ...own, [name]: value }, { image, flavor }) !== sizeWith(own, { image, flavor })
      : KEPT[name]?.(guest, value) === false;
    if (isOther)
      throw new HypervisorError('unsupported', `a guest stays what it is while it is rescued (${name}=${value})`);
  }
  const followed = said.filter(([name]) => Object.hasOwn(FOLLOWED, name));
  const properties = { hw_machine_type: guest.machine, ...Object.fromEntries(followed) };
  const wanted = devicesFor({ image: { ...image, properties }, flavor: { ...flavor, extraSpecs: {} } }, machines);
  return RescueDevices.parse({
    ...guest,
    ...Object.fromEntries(followed.map(([name]) => [FOLLOWED[name], wanted[FOLLOWED[name]!]])),
  });
};
