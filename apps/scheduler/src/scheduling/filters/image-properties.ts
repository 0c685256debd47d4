import { type GuestFilter, refusal } from '../candidate.js';

const ARCHITECTURES: Record<string, string> = {
  x86_64: 'HW_ARCH_X86_64',
  amd64: 'HW_ARCH_X86_64',
  aarch64: 'HW_ARCH_AARCH64',
  arm64: 'HW_ARCH_AARCH64',
  i686: 'HW_ARCH_I686',
  ppc64le: 'HW_ARCH_PPC64LE',
  s390x: 'HW_ARCH_S390X',
  riscv64: 'HW_ARCH_RISCV64',
};

const VMWARE = ['vmware', 'vmware vcenter server', 'vmware esxi'];
/**
 * What else images call a hypervisor. QEMU runs with and without KVM; of Nova's drivers VMware's answers to `vmware`, and
 * that of XenServer answered to `xen`. Source: Nova's `HVType`.
 */
const NAMES: Readonly<Record<string, readonly string[]>> = {
  qemu: ['qemu', 'kvm'],
  xen: ['xen', 'xapi'],
  xenserver: ['xenserver', 'xen', 'xapi'],
  'vmware vcenter server': VMWARE,
  'vmware esxi': VMWARE,
  hyperv: ['hyperv', 'hyper-v'],
};

/** Several hypervisors may be named, separated by commas: any of them will do. */
const isNamed = (hypervisorType: string, wanted: string): boolean => {
  const type = hypervisorType.toLowerCase();
  const names = NAMES[type] ?? [type];
  return wanted.split(',').some((name) => names.includes(name.trim().toLowerCase()));
};

const dotted = (version: number): string =>
  [version / 1_000_000, (version / 1_000) % 1_000, version % 1_000].map(Math.floor).join('.');
const numberOf = (text: string): number => {
  const [major = 0, minor = 0, patch = 0] = text.split('.').map(Number);
  return major * 1_000_000 + minor * 1_000 + patch;
};
const COMPARISONS: Readonly<Record<string, (a: number, b: number) => boolean>> = {
  '<': (a, b) => a < b,
  '<=': (a, b) => a <= b,
  '=': (a, b) => a === b,
  '==': (a, b) => a === b,
  '!=': (a, b) => a !== b,
  '>=': (a, b) => a >= b,
  '>': (a, b) => a > b,
};
/** Several comparisons with commas between them; what cannot be read holds nowhere. */
const satisfies = (version: number, wanted: string): boolean =>
  wanted.split(',').every((part) => {
    const [, operator = '', text = ''] = /^\s*([<>=!]+)\s*(\d+(?:\.\d+){0,2})\s*$/.exec(part) ?? [];
    return COMPARISONS[operator]?.(version, numberOf(text)) === true;
  });

/** Hosts that say nothing of firmware find out when they spawn. */
const firmware: GuestFilter['check'] = (wanted, { traits }) => {
  const { image, flavor } = wanted.request;
  const type = image.properties.hw_firmware_type;
  const isSecure = image.properties.os_secure_boot === 'required' || flavor.extraSpecs['os:secure_boot'] === 'required';
  if (!type && !isSecure) return null;
  if (![...traits].some((t) => t.startsWith('COMPUTE_FIRMWARE_'))) return null;
  if (type && !traits.has(`COMPUTE_FIRMWARE_${type.toUpperCase()}`)) return refusal('firmware', type, 'not offered');
  if (isSecure && !traits.has('COMPUTE_SECURITY_UEFI_SECURE_BOOT'))
    return refusal('secure boot', 'required', 'not offered');
  return null;
};

const formatTrait = (format: string): string => `COMPUTE_IMAGE_TYPE_${format.toUpperCase()}`;
/** The image service makes each of these of any other. */
const CONVERTED = ['raw', 'qcow2', 'vhd', 'vhdx', 'vmdk', 'vdi'];
const takes = (traits: ReadonlySet<string>, format: string): boolean =>
  traits.has(formatTrait(format)) ||
  (CONVERTED.includes(format) && CONVERTED.some((other) => traits.has(formatTrait(other))));

/** What the image says of the machine it can boot on. */
export const imageProperties: GuestFilter = {
  name: 'image properties',
  check: (wanted, hostClass) => {
    const { properties } = wanted.request.image;
    const hypervisor = properties.img_hv_type;
    if (hypervisor !== undefined && !isNamed(hostClass.hypervisorType, hypervisor))
      return refusal('hypervisor type', hypervisor, hostClass.hypervisorType);
    const version = properties.img_hv_requested_version;
    if (version !== undefined && !satisfies(hostClass.hypervisorVersion, version))
      return refusal('hypervisor version', version, dotted(hostClass.hypervisorVersion));
    const architecture = properties.hw_architecture;
    const has = hostClass.architecture;
    if (architecture !== undefined && has !== null) {
      const trait = ARCHITECTURES[architecture] ?? `HW_ARCH_${architecture.toUpperCase()}`;
      if (!hostClass.traits.has(trait) && (ARCHITECTURES[has] ?? has) !== trait)
        return refusal('architecture', architecture, has);
    }
    if (hostClass.tellsFormats && !takes(hostClass.traits, wanted.request.image.diskFormat))
      return refusal('disk format', wanted.request.image.diskFormat, 'not offered');
    if (wanted.request.image.kernel && !hostClass.traits.has(formatTrait('aki')))
      return refusal('kernel_id', 'a kernel beside the disk', 'not offered');
    return firmware(wanted, hostClass);
  },
};
