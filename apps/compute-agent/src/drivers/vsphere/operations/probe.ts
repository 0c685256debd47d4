import { cpuTraits } from '../../common/cpu-traits.js';
import { traitsOf } from '../../common/wishes.js';
import type { ProbeReport, Survey } from '../../hypervisor-driver.js';
import type { PropertyReader } from '../transport/properties.js';
import { type AnswerObject, listOf, type Ref } from '../transport/soap.js';
import type { Updates } from '../transport/updates.js';
import { fromVim } from '../transport/vim-fault.js';
import type { VimSession } from '../transport/vim-session.js';
import { PROBE_KEY } from './guest-state.js';
import { extraConfig } from './guests.js';
import { machineFor, SERVED } from './hardware.js';
import type { Host } from './host.js';
import type { Place } from './place.js';
import { VM_PATHS, vmRecord } from './records.js';

/** As little as a guest can be. */
const PROBE_GUEST = { vcpus: 1, memoryMib: 64, extraSpecs: {}, properties: {}, directBoot: false };
const LIMIT = 25_000;

/** What a probe says of a vCenter that it has not seen. */
export const NOTHING_KNOWN = {
  ...{ version: null, hypervisorType: 'VMware vCenter Server', hypervisorVersion: 0, traits: [], cpuInfo: {} },
} as const satisfies Partial<ProbeReport>;

/** Looks at the vCenter, and tries whether a guest runs there. */
export class Probe {
  constructor(
    private readonly session: VimSession,
    private readonly read: PropertyReader,
    private readonly updates: Updates,
    private readonly host: Host,
  ) {}

  async run(signal: AbortSignal): Promise<ProbeReport> {
    try {
      const facts = await this.survey();
      const closed = await this.host.maintenance();
      if (closed !== null) return { ...facts, health: 'unhealthy', reason: closed, inMaintenance: true };
      return { ...facts, ...(await this.tryGuest(await this.host.place(), signal)) };
    } catch (error) {
      return { ...NOTHING_KNOWN, health: 'unhealthy', reason: reasonOf(error, 'asking the vCenter') };
    }
  }

  async survey(): Promise<Survey> {
    const { about } = await this.session.content();
    await this.host.refresh();
    return { ...NOTHING_KNOWN, ...(await this.facts(about)) };
  }

  private async facts({ fullName, version, name }: AnswerObject) {
    const hosts = await this.host.connected(['summary.hardware', 'config.featureCapability']);
    const flags = commonFlags(hosts.map(({ properties }) => listOf(properties['config.featureCapability'])));
    const { cpuModel, vendor, numCpuPkgs, numCpuCores, numCpuThreads } = (hosts[0]?.properties['summary.hardware'] ??
      {}) as AnswerObject;
    const [sockets, cores, threads] = [numCpuPkgs, numCpuCores, numCpuThreads].map((each) => Number(each ?? 1));
    return {
      version: String(fullName ?? version ?? ''),
      hypervisorType: String(name ?? NOTHING_KNOWN.hypervisorType),
      hypervisorVersion: numberOf(String(version ?? '')),
      traits: [
        ...['COMPUTE_NODE', 'COMPUTE_ARCH_X86_64', 'COMPUTE_IMAGE_TYPE_VMDK', 'COMPUTE_IMAGE_TYPE_RAW'],
        ...['COMPUTE_STORAGE_BUS_SCSI', 'COMPUTE_NET_VIF_MODEL_VMXNET3', 'COMPUTE_NET_VIF_MODEL_E1000'],
        ...['COMPUTE_NET_VIF_MODEL_E1000E', 'COMPUTE_GRAPHICS_MODEL_VGA', 'COMPUTE_FIRMWARE_BIOS'],
        ...['COMPUTE_FIRMWARE_UEFI', 'COMPUTE_SECURITY_UEFI_SECURE_BOOT'],
        ...['CUSTOM_HYPERVISOR_VSPHERE', 'CUSTOM_VM_MODE_HVM', 'COMPUTE_GRAPHICS_MODEL_VMVGA'],
        ...traitsOf(SERVED),
        ...cpuTraits(flags),
      ],
      cpuInfo: {
        arch: 'x86_64',
        model: String(cpuModel ?? ''),
        vendor: String(vendor ?? ''),
        topology: { sockets, cores: cores! / sockets!, threads: threads! / cores! },
        features: flags,
      },
    };
  }

  /** Makes, starts and removes a guest without disks: a place where none runs is of no use. */
  private async tryGuest(place: Place, signal: AbortSignal): Promise<Pick<ProbeReport, 'health' | 'reason'>> {
    const who = place.member ? `member ${place.member.name}` : 'the cluster';
    try {
      await this.removeProbes(place);
      try {
        const options = { signal, limit: LIMIT };
        const vm = (await this.updates.run(place.folder, 'CreateVM_Task', await this.guest(place), options)) as Ref;
        await this.updates.run(vm, 'PowerOnVM_Task', { host: place.member?.ref }, options);
      } finally {
        await this.removeProbes(place);
      }
      return { health: 'healthy', reason: `${who} has run a throw-away guest` };
    } catch (error) {
      return { health: 'unhealthy', reason: reasonOf(error, `running a throw-away guest on ${who}`) };
    }
  }

  private async guest(place: Place) {
    const { config } = machineFor(PROBE_GUEST);
    return {
      config: {
        ...config,
        name: `omnivisor probe ${Math.random().toString(36).slice(2, 10)}`,
        files: { vmPathName: `[${place.datastore.name}]` },
        extraConfig: [extraConfig(PROBE_KEY, place.id)],
      },
      pool: place.pool,
      host: await this.host.memberForGuest(),
    };
  }

  private async removeProbes(place: Place): Promise<void> {
    const all = await this.read.below(place.datacenter.ref, 'VirtualMachine', VM_PATHS);
    for (const { ref, power } of all.map(vmRecord).filter(({ probe }) => probe === place.id)) {
      if (power !== 'shutdown') await this.updates.run(ref, 'PowerOffVM_Task');
      await this.updates.run(ref, 'Destroy_Task');
    }
  }
}

const reasonOf = (error: unknown, doing: string): string => {
  const { message, native } = fromVim(error, doing);
  return native ? `${message}: ${native}` : message;
};

/** Nova's number of a version. */
const numberOf = (version: string): number => {
  const [major = 0, minor = 0, patch = 0] = version.split('.').map(Number);
  return major * 1_000_000 + minor * 1_000 + patch;
};

/** What a guest has wherever it runs, by the names of the kernel. */
const commonFlags = (capabilities: readonly (readonly unknown[])[]): string[] => {
  const each = capabilities.map(
    (list) =>
      new Set(
        (list as readonly AnswerObject[]).flatMap(({ key, value }) => {
          const name = /^cpuid\.(\w+)$/.exec(String(key))?.[1]?.toLowerCase();
          return name !== undefined && String(value) === '1' ? [name.replace(/^sse4(\d)$/, 'sse4_$1')] : [];
        }),
      ),
  );
  const [first = new Set<string>(), ...others] = each;
  return [...first].filter((flag) => others.every((flags) => flags.has(flag))).sort();
};
