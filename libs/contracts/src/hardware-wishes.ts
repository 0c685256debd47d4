import { z } from 'zod';

/** Values of a wish that ask for nothing; null: every value asks for something. */
type Idle = RegExp | null;

const NO = /^(0|f|false|off|n|no)$/i;
const NONE = /^(0|-1|none)$/i;

const each = <const N extends string>(idle: Idle, ...names: readonly N[]) =>
  Object.fromEntries(names.map((name) => [name, idle])) as Record<N, Idle>;

/** What hosts tell of by traits for each value, which placement compares. */
const devices = {
  ...each(null, 'hw_architecture', 'hw_vm_mode', 'hw_machine_type', 'hw_firmware_type', 'tpm_version'),
  ...each(null, 'hw_disk_bus', 'hw_cdrom_bus', 'hw_rescue_bus', 'hw_vif_model', 'hw_video_model'),
  ...each(/^(disabled|optional)$/, 'os_secure_boot', 'os:secure_boot'),
};

/** What a host serves or does not. `cpu_policy` stands for `hw_cpu_policy` of an image and `hw:cpu_policy` of a flavor. */
const abilities = {
  ...each(null, 'cpu_sockets', 'cpu_cores', 'cpu_max_sockets', 'cpu_max_cores', 'cpu_max_threads'),
  ...each(/^1$/, 'cpu_threads', 'numa_nodes', 'serial_port_count'),
  ...each(/^shared?$/, 'cpu_policy', 'emulator_threads_policy'),
  ...each(/^prefer$/, 'cpu_thread_policy'),
  ...each(null, 'cpu_realtime_mask', 'cpu_dedicated_mask', 'pci_numa_affinity_policy'),
  ...each(/^(any|small|4(KB|KiB)?)$/i, 'mem_page_size'),
  ...each(NO, 'cpu_realtime', 'locked_memory', 'mem_encryption', 'ephemeral_encryption', 'hw_firmware_stateless'),
  ...each(NO, 'vif_multiqueue_enabled', 'virtio_packed_ring', 'pmu', 'time_hpet', 'boot_menu', 'hw_ipxe_boot'),
  ...each(NO, 'hide_hypervisor_id', 'os_require_quiesce'),
  ...each(null, 'pmem', 'maxphysaddr_mode', 'hw_scsi_model', 'hw_rng_model', 'viommu_model'),
  ...each(null, 'sound_model', 'usb_model', 'hw_input_bus'),
  ...each(NONE, 'hw_video_ram', 'redirected_usb_ports'),
  ...each(/^x86_64$/, 'hw_emulation_architecture'),
  ...each(/^ps2mouse$/, 'hw_pointer_model'),
  ...each(/^disk$/, 'hw_rescue_device'),
  ...each(/^disabled$/, 'watchdog_action'),
  ...each(null, 'quota:cpu_shares', 'quota:cpu_period'),
  ...each(NONE, 'quota:cpu_quota', 'quota:cpu_limit', 'quota:cpu_reservation'),
  ...each(NONE, 'quota:memory_limit', 'quota:memory_reservation'),
  ...each(NONE, 'quota:disk_io_limit', 'quota:disk_io_reservation', 'quota:vif_limit', 'quota:vif_reservation'),
  ...each(/^normal$/, 'quota:cpu_shares_level', 'quota:memory_shares_level'),
  ...each(/^normal$/, 'quota:disk_io_shares_level', 'quota:vif_shares_level'),
  ...each(null, 'quota:cpu_shares_share', 'quota:memory_shares_share'),
  ...each(null, 'quota:disk_io_shares_share', 'quota:vif_shares_share'),
  ...each(NONE, 'quota:disk_read_bytes_sec', 'quota:disk_write_bytes_sec', 'quota:disk_total_bytes_sec'),
  ...each(NONE, 'quota:disk_read_iops_sec', 'quota:disk_write_iops_sec', 'quota:disk_total_iops_sec'),
  ...each(NONE, 'quota:disk_read_bytes_sec_max', 'quota:disk_write_bytes_sec_max', 'quota:disk_total_bytes_sec_max'),
  ...each(NONE, 'quota:disk_read_iops_sec_max', 'quota:disk_write_iops_sec_max', 'quota:disk_total_iops_sec_max'),
  ...each(NONE, 'quota:vif_inbound_average', 'quota:vif_inbound_peak', 'quota:vif_inbound_burst'),
  ...each(NONE, 'quota:vif_outbound_average', 'quota:vif_outbound_peak', 'quota:vif_outbound_burst'),
  ...each(NONE, 'hw_rng:rate_bytes'),
  ...each(null, 'accel:device_profile', 'pci_passthrough:alias'),
  ...each(null, 'vmware:storage_policy', 'vmware:hw_version'),
};

/**
 * Image properties and extra specs by which Nova's users ask for something of a guest's hardware. Not here: what describes
 * the image (`hw_qemu_guest_agent`, `vmware_ostype`), and what only shapes another wish (`hw_tpm_model`).
 * Source: Nova's `ImageMetaProps` and its reference of extra specs.
 */
export const hardwareWishes = { ...devices, ...abilities };
export type HardwareWish = keyof typeof hardwareWishes;

/** One of them, as an image or a flavor has it. */
export interface Wish {
  readonly name: HardwareWish;
  readonly of: 'image' | 'flavor';
  readonly key: string;
  readonly value: string;
}

const NAMES = Object.keys(hardwareWishes) as HardwareWish[];
const ofFlavor = (name: string) => name.includes(':');
const ofImage = (name: string) => !ofFlavor(name) && /^(hw|os)_/.test(name);
const KEYS: Readonly<Record<Wish['of'], ReadonlyMap<string, HardwareWish>>> = {
  image: new Map([
    ...NAMES.filter((name) => !ofFlavor(name)).map((name) => [ofImage(name) ? name : `hw_${name}`, name] as const),
    ['img_hide_hypervisor_id', 'hide_hypervisor_id'],
  ]),
  flavor: new Map([
    ...NAMES.filter((name) => !ofImage(name)).map((name) => [ofFlavor(name) ? name : `hw:${name}`, name] as const),
    ['hide_hypervisor_id', 'hide_hypervisor_id'],
  ]),
};

/** What is asked for, in the order of the image's properties and then the flavor's. @param properties canonical */
export const wishesOf = (
  properties: Readonly<Record<string, string>>,
  extraSpecs: Readonly<Record<string, string>>,
): Wish[] => {
  const said = (of: Wish['of'], from: Readonly<Record<string, string>>): Wish[] =>
    Object.entries(from).flatMap(([key, value]) => {
      const name = KEYS[of].get(key);
      const isIdle = name === undefined || value === '' || hardwareWishes[name]?.test(value) === true;
      return isIdle ? [] : [{ name, of, key, value }];
    });
  return [...said('image', properties), ...said('flavor', extraSpecs)];
};

/** On hosts whose traits say which wishes they serve. */
export const TELLS_WISHES = 'CUSTOM_OMNIVISOR_WISHES';

/** The trait of hosts that serve a wish; null where traits for its values say more. */
export const wishTrait = (name: HardwareWish): string | null =>
  Object.hasOwn(devices, name)
    ? null
    : `CUSTOM_OMNIVISOR_WISH_${name
        .replace(/^hw_(?!.*:)/, '')
        .toUpperCase()
        .replace(/[^A-Z0-9]/g, '_')}`;

/** Traits of a host that serves these, and none but these. */
export const wishTraits = (served: readonly HardwareWish[]): string[] => [
  TELLS_WISHES,
  ...served.flatMap((name) => wishTrait(name) ?? []),
];

const Said = z.record(z.string(), z.string());

/** What an image and a flavor said of a guest's hardware: when one of them changes, the other has to be known again. */
export const HardwareWishes = z.object({ properties: Said, extraSpecs: Said });
export type HardwareWishes = z.output<typeof HardwareWishes>;

const SHAPES = /^(hw|os|vmware)_/;

/** What of them is kept beside a guest: an image may have much else. @param image its properties, canonical */
export const hardwareWishesOf = (
  image: { readonly properties: Readonly<Record<string, string>> },
  flavor: { readonly extraSpecs: Readonly<Record<string, string>> },
): HardwareWishes => ({
  properties: Object.fromEntries(Object.entries(image.properties).filter(([name]) => SHAPES.test(name))),
  extraSpecs: { ...flavor.extraSpecs },
});
