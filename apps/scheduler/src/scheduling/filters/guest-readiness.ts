import type { BootNeed, HypervisorKind } from '@omnivisor/contracts';
import { type GuestFilter, type GuestWants, type HostClass, refusal } from '../candidate.js';

/** Nova's names for the hypervisors of which image-service says whether a guest starts on them. */
const KINDS: Readonly<Record<string, HypervisorKind>> = {
  qemu: 'qemu',
  kvm: 'qemu',
  xen: 'xen',
  xenserver: 'xenserver',
  'vmware vcenter server': 'vsphere',
  'vmware esxi': 'vsphere',
  hyperv: 'hyperv',
};

/** Machine types that are a firmware or a mode by another name. */
const MACHINES: Readonly<Record<string, string>> = {
  ...{ 'hyperv-gen1': 'bios', 'hyperv-gen2': 'uefi' },
  ...{ xenpv: 'xen', xenpvh: 'pvh', xenfv: 'hvm' },
};

type Asked = GuestWants & { readonly kind: HypervisorKind; readonly hostClass: HostClass };

const machineOf = ({ request }: Asked): string | undefined => MACHINES[request.image.properties.hw_machine_type ?? ''];

const modeOf = (asked: Asked): string | undefined => {
  const { kind, hostClass, request } = asked;
  const { hw_vm_mode: mode, hw_firmware_type: firmware } = request.image.properties;
  if (kind === 'xen') return mode ?? machineOf(asked) ?? (firmware === 'bios' ? 'hvm' : undefined);
  const onlyParavirtual = hostClass.traits.has('CUSTOM_VM_MODE_XEN') && !hostClass.traits.has('CUSTOM_VM_MODE_HVM');
  return mode ?? (kind === 'xenserver' && onlyParavirtual ? 'xen' : undefined);
};

const firmwareOf = (asked: Asked): string | undefined => {
  const { kind, request } = asked;
  const { properties } = request.image;
  if (kind === 'xenserver' && /^(xen|pvh)$/.test(modeOf(asked) ?? '')) return 'none';
  if (properties.os_secure_boot === 'required' || request.flavor.extraSpecs['os:secure_boot'] === 'required')
    return 'uefi';
  return (kind === 'hyperv' ? machineOf(asked) : undefined) ?? properties.hw_firmware_type;
};

const scsiModelOf = ({ kind, request: { image } }: Asked): string | undefined => {
  const { hw_scsi_model: model, vmware_adaptertype: adapter, os_type: type } = image.properties;
  return model ?? adapter ?? (kind === 'vsphere' && type === 'windows' ? 'lsisas1068' : undefined);
};

const diskBusOf = ({ use, request: { image } }: Asked): string | undefined =>
  (use === 'rescue' ? image.properties.hw_rescue_bus : undefined) ?? image.properties.hw_disk_bus;

/** What the drivers read where a property is not all that decides. */
const DECIDED: Readonly<Record<string, (asked: Asked) => string | undefined>> = {
  ...{ hw_vm_mode: modeOf, hw_firmware_type: firmwareOf, hw_scsi_model: scsiModelOf, hw_disk_bus: diskBusOf },
};

/** What hosts of the class make of an image that does not say. */
const defaultOf = (property: string, { hostClass }: Asked): string | undefined =>
  property === 'hw_firmware_type'
    ? ['bios', 'uefi'].find((firmware) => hostClass.traits.has(`CUSTOM_DEFAULT_FIRMWARE_${firmware.toUpperCase()}`))
    : undefined;

/** A machine that is there may be other than its image says, and stays so; only QEMU makes one anew for another image. */
const mayBeOther = ({ use, kind }: Asked) => use !== undefined && !(use === 'rebuild' && kind === 'qemu');

const unmet = (needs: readonly BootNeed[], asked: Asked) => {
  for (const { property, values, fails } of needs) {
    const said = DECIDED[property]?.(asked) ?? asked.request.image.properties[property];
    if (said === undefined && mayBeOther(asked)) continue;
    const value = said ?? defaultOf(property, asked) ?? null;
    if (!fails.includes(value)) continue;
    const wanted = `${property}=${values.join(' or ')}, which the guest in its image needs to start`;
    return refusal('guest readiness', wanted, value ?? 'none');
  }
  return null;
};

/** A server goes where the guest in its image starts; what is not known constrains nothing. */
export const guestReadiness: GuestFilter = {
  name: 'guest readiness',
  check: (wants, hostClass) => {
    const { image } = wants.request;
    // It was looked for a kernel on the disk, which is not the one that starts.
    if (image.kernel) return null;
    const kind = KINDS[hostClass.hypervisorType.toLowerCase()];
    const readiness = kind && image.readiness?.[kind];
    if (!readiness) return null;
    if (readiness.verdict === 'boots') return unmet(readiness.needs ?? [], { ...wants, kind, hostClass });
    return refusal(
      'guest readiness',
      'a hypervisor that the guest in its image starts on',
      readiness.reason ?? hostClass.hypervisorType,
    );
  },
};
