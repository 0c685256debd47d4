import { type ClassFilter, refusal, type Wanted } from '../candidate.js';

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

/** QEMU runs with and without KVM, and images name it by either. */
const family = (hypervisor: string): string => {
  const name = hypervisor.trim().toLowerCase();
  return name === 'kvm' ? 'qemu' : name;
};

const property = ({ request }: Wanted, name: string, older: string): string | undefined =>
  request.image.properties[name] || request.image.properties[older] || undefined;

/** Hosts that say nothing of firmware find out when they spawn. */
const firmware: ClassFilter['check'] = (wanted, { traits }) => {
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

/** What the image says of the machine it can boot on. */
export const imageProperties: ClassFilter = {
  name: 'image properties',
  check: (wanted, hostClass) => {
    // Several hypervisors may be named, separated by commas: any of them will do.
    const hypervisor = property(wanted, 'img_hv_type', 'hypervisor_type');
    if (hypervisor !== undefined && !hypervisor.split(',').some((h) => family(h) === family(hostClass.hypervisorType)))
      return refusal('hypervisor type', hypervisor, hostClass.hypervisorType);
    const architecture = property(wanted, 'hw_architecture', 'architecture')?.toLowerCase();
    const has = hostClass.architecture;
    if (architecture !== undefined && has !== null) {
      const trait = ARCHITECTURES[architecture] ?? `HW_ARCH_${architecture.toUpperCase()}`;
      if (!hostClass.traits.has(trait) && (ARCHITECTURES[has] ?? has) !== trait)
        return refusal('architecture', architecture, has);
    }
    const format = `COMPUTE_IMAGE_TYPE_${wanted.request.image.diskFormat.toUpperCase()}`;
    if (hostClass.tellsFormats && !hostClass.traits.has(format))
      return refusal('disk format', wanted.request.image.diskFormat, 'not offered');
    return firmware(wanted, hostClass);
  },
};
