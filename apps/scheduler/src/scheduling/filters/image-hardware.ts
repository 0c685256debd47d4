import { type GuestFilter, refusal } from '../candidate.js';

/** Properties that name a device, and the traits of hosts that have it; source: Nova's `transform_image_metadata`. */
const DEVICES: Readonly<Record<string, string>> = {
  hw_disk_bus: 'COMPUTE_STORAGE_BUS_',
  hw_cdrom_bus: 'COMPUTE_STORAGE_BUS_',
  hw_rescue_bus: 'COMPUTE_STORAGE_BUS_',
  hw_vif_model: 'COMPUTE_NET_VIF_MODEL_',
  hw_video_model: 'COMPUTE_GRAPHICS_MODEL_',
};
const VM_MODES = 'CUSTOM_VM_MODE_';

const traitName = (value: string): string => value.toUpperCase().replace(/[^A-Z0-9]/g, '_');

/** Hosts that name none of a kind find out when they spawn. */
const offers = (traits: ReadonlySet<string>, prefix: string, value: string): boolean =>
  traits.has(`${prefix}${traitName(value)}`) || ![...traits].some((trait) => trait.startsWith(prefix));

/** A host without the trait has none; the flavor decides where it says something. */
const tpm: GuestFilter['check'] = ({ request: { image, flavor } }, { traits }) => {
  const wanted = (name: string) => flavor.extraSpecs[`hw:${name}`] || image.properties[`hw_${name}`] || '';
  if (!wanted('tpm_version')) return null;
  for (const name of ['tpm_version', 'tpm_model'] as const) {
    const value = wanted(name);
    if (value && !traits.has(`COMPUTE_SECURITY_TPM_${traitName(value.replace(/^tpm-/, ''))}`))
      return refusal(name, value, 'not offered');
  }
  return null;
};

/** Devices that image and flavor ask for, and the mode that its guest runs in. */
export const imageHardware: GuestFilter = {
  name: 'image hardware',
  check: (wanted, hostClass) => {
    const { traits } = hostClass;
    const { properties } = wanted.request.image;
    for (const [property, prefix] of Object.entries(DEVICES)) {
      const value = properties[property];
      if (value && !offers(traits, prefix, value)) return refusal(property, value, 'not offered');
    }
    const mode = properties.hw_vm_mode;
    if (mode && !offers(traits, VM_MODES, mode)) return refusal('vm mode', mode, 'not offered');
    return tpm(wanted, hostClass);
  },
};
