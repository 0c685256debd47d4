type Synonyms = Readonly<Record<string, string>>;

/** Names that properties had before. */
const NAMES: Synonyms = {
  architecture: 'hw_architecture',
  vm_mode: 'hw_vm_mode',
  hypervisor_type: 'img_hv_type',
  hypervisor_version_requires: 'img_hv_requested_version',
};

const word =
  (synonyms: Synonyms = {}) =>
  (value: string): string => {
    const name = value.trim().toLowerCase();
    return Object.hasOwn(synonyms, name) ? synonyms[name]! : name;
  };
const scsiModel = word({ lsilogicsas: 'lsisas1068', paravirtual: 'vmpvscsi' });

/** Properties whose values are words, and other words for them. */
const VALUES: Readonly<Record<string, (value: string) => string>> = {
  hw_architecture: word({ amd64: 'x86_64', arm64: 'aarch64', i386: 'i686', i486: 'i686', i586: 'i686' }),
  hw_emulation_architecture: word({ amd64: 'x86_64', arm64: 'aarch64' }),
  hw_vm_mode: word({ pv: 'xen', hv: 'hvm', baremetal: 'hvm' }),
  hw_vif_model: word({
    virtuale1000: 'e1000',
    virtuale1000e: 'e1000e',
    virtualpcnet32: 'pcnet',
    virtualsriovethernetcard: 'sriov',
    virtualvmxnet: 'vmxnet',
    virtualvmxnet3: 'vmxnet3',
  }),
  hw_scsi_model: scsiModel,
  vmware_adaptertype: scsiModel,
  ...Object.fromEntries(
    [
      ...['hw_disk_bus', 'hw_cdrom_bus', 'hw_rescue_bus', 'hw_rescue_device', 'hw_video_model', 'hw_pointer_model'],
      ...['hw_firmware_type', 'hw_watchdog_action', 'hw_rng_model', 'os_secure_boot', 'os_type'],
    ].map((name) => [name, word()]),
  ),
};

/**
 * Properties of an image under the names and with the values that Nova has today, so that placement and drivers read the
 * same. A newer name beats an older one, an empty value says nothing, and what is not known here stays as it is.
 * Source: Nova's `ImageMetaProps` and its enumerations. Applying it twice changes nothing.
 */
export const canonicalProperties = (properties: Readonly<Record<string, string>>): Record<string, string> => {
  const said = Object.entries(properties).filter(([, value]) => value !== '');
  const older = said.flatMap(([name, value]) => (Object.hasOwn(NAMES, name) ? [[NAMES[name]!, value] as const] : []));
  const newer = said.filter(([name]) => !Object.hasOwn(NAMES, name));
  const canonical = new Map([...older, ...newer]);
  return Object.fromEntries(
    [...canonical].map(([name, value]) => [name, Object.hasOwn(VALUES, name) ? VALUES[name]!(value) : value]),
  );
};
