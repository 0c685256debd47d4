import { invalid } from '@omnivisor/contracts';

/**
 * What extra specs there are in the namespaces that Compute gives a meaning to, and what each may be. Checked from 2.86
 * on; other namespaces are an operator's own. Source: Nova's reference of extra specs, 2026.
 */

type Test = (value: string) => boolean;

const anything: Test = () => true;
const boolean: Test = (v) => /^(1|t|true|on|y|yes|0|f|false|off|n|no)$/i.test(v);
const like =
  (pattern: RegExp): Test =>
  (v) =>
    pattern.test(v);
const oneOf =
  (...values: string[]): Test =>
  (v) =>
    values.includes(v);
const integer =
  (min = Number.NEGATIVE_INFINITY, max = Number.POSITIVE_INFINITY): Test =>
  (v) =>
    /^-?\d{1,15}$/.test(v) && Number(v) >= min && Number(v) <= max;
const cpuSet = like(/^\^?\d+((-\d+)?(,\^?\d+(-\d+)?)?)*$/);

const specs: readonly (readonly [name: RegExp, test: Test])[] = [
  [/^hw:(cpu_realtime|hide_hypervisor_id|locked_memory|boot_menu|vif_multiqueue_enabled)$/, boolean],
  [/^hw:(mem_encryption|pmu|virtio_packed_ring|ephemeral_encryption)$/, boolean],
  [/^hw:(cpu_realtime_mask|cpu_dedicated_mask|numa_cpus\.\d+)$/, cpuSet],
  [/^hw:cpu_policy$/, oneOf('shared', 'dedicated', 'mixed')],
  [/^hw:cpu_thread_policy$/, oneOf('prefer', 'isolate', 'require')],
  [/^hw:emulator_threads_policy$/, oneOf('isolate', 'share')],
  [/^hw:mem_page_size$/, like(/^(large|small|any|\d+([kKMGT]i?)?(b|bit|B)?)$/)],
  [/^hw:(numa_nodes|numa_mem\.\d+|cpu_(max_)?(sockets|cores|threads))$/, integer(1)],
  [/^hw:pci_numa_affinity_policy$/, oneOf('required', 'preferred', 'legacy', 'socket')],
  [/^hw:pmem$/, like(/^[a-zA-Z0-9_]+(,[a-zA-Z0-9_]+)*,?$/)],
  [/^hw:serial_port_count$/, integer(0)],
  [/^hw:redirected_usb_ports$/, integer(0, 15)],
  [/^hw:tpm_model$/, oneOf('tpm-tis', 'tpm-crb')],
  [/^hw:tpm_version$/, oneOf('1.2', '2.0')],
  [/^hw:watchdog_action$/, oneOf('none', 'pause', 'poweroff', 'reset', 'disabled')],
  [/^hw:(mem_encryption_model|tpm_secret_security|viommu_model|sound_model|usb_model)$/, anything],
  [/^hw:ephemeral_encryption_format$/, anything],
  [/^hw_rng:allowed$/, boolean],
  [/^hw_rng:rate_(bytes|period)$/, integer(0)],
  [/^hw_video:ram_max_mb$/, integer(0)],
  [/^os:secure_boot$/, oneOf('disabled', 'optional', 'required')],
  [/^quota:(cpu|memory|disk_io|vif)_limit$/, integer(0)],
  [/^quota:(cpu|memory|disk_io|vif)_reservation$/, integer()],
  [/^quota:(cpu|memory|disk_io|vif)_shares_level$/, oneOf('custom', 'high', 'normal', 'low')],
  [/^quota:(cpu|memory|disk_io|vif)_shares_share$/, integer(0)],
  [/^quota:cpu_(shares|period)$/, integer(0)],
  [/^quota:cpu_quota$/, integer()],
  [/^quota:disk_(read|write|total)_(bytes|iops)_sec(_max)?$/, integer(0)],
  [/^quota:vif_(inbound|outbound)_(average|peak|burst)$/, integer(0)],
  [/^accel:device_profile$/, anything],
  [/^pci_passthrough:alias$/, like(/^[^:]+:\d+(\s*,\s*[^:]+:\d+)*$/)],
  [/^resources[a-zA-Z0-9_-]{0,64}:[A-Z][A-Z0-9_]*$/, integer(0)],
  [/^trait[a-zA-Z0-9_-]{0,64}:[A-Z][A-Z0-9_]*$/, oneOf('required', 'forbidden')],
  [/^hide_hypervisor_id$/, boolean],
  [/^group_policy$/, oneOf('none', 'isolate')],
];

/** Namespaces in which every name has to be known. */
const namespaces = /^(hw|hw_rng|hw_video|os|quota|accel|pci_passthrough|resources[\w-]*|trait[\w-]*)$/;

/** @throws DomainError `invalid` for a name or a value that Compute could not act on */
export const checkExtraSpecs = (extraSpecs: Readonly<Record<string, string>>): void => {
  for (const [name, value] of Object.entries(extraSpecs)) {
    const spec = specs.find(([pattern]) => pattern.test(name));
    if (spec && !spec[1](value))
      throw invalid(`Validation failed; '${value}' is not a valid value for extra spec '${name}'.`);
    const [namespace = ''] = name.split(':', 1);
    if (!spec && name.includes(':') && namespaces.test(namespace))
      throw invalid(`Validation failed; extra spec '${name}' does not appear to be a valid extra spec.`);
  }
};
