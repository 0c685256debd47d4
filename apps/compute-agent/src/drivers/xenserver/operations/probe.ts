import { networkNeeds } from '@omnivisor/contracts';
import { cpuTraits } from '../../common/cpu-traits.js';
import { traitsOf } from '../../common/wishes.js';
import type { ProbeReport, Survey } from '../../hypervisor-driver.js';
import { fromXapi } from '../transport/xapi-error.js';
import type { EventBatch, EventToken, XapiSession } from '../transport/xapi-session.js';
import { refuseAborted } from './aborted.js';
import { machineFor, PLAIN_TEMPLATE, SERVED } from './hardware.js';
import { type Host, productVersion } from './host.js';
import type { HostRecord, Ref, VmRecord, XapiMap } from './records.js';

/** Marks the throw-away guest of a probe, so that the next one clears away what was left. */
const PROBE_KEY = 'omnivisor-probe';

/** As little as a guest can be. */
const PROBE_GUEST = {
  ...{ name: 'omnivisor probe', description: 'throw-away guest of a probe', vcpus: 1, memoryMib: 64 },
  ...{ extraSpecs: {}, properties: {}, directBoot: false },
};

/** Seconds without news of a guest that runs. */
const QUIET = 1;

/** The trait of a pool that makes paravirtual guests. */
export const PARAVIRTUAL = 'CUSTOM_VM_MODE_XEN';

/** What a probe says of a pool that it has not seen. */
export const NOTHING_KNOWN = {
  ...{ version: null, hypervisorType: 'XenServer', hypervisorVersion: 0, traits: [], cpuInfo: {} },
} as const satisfies Partial<ProbeReport>;

/** Looks at the pool, and tries whether a guest runs there. */
export class Probe {
  constructor(
    private readonly xapi: XapiSession,
    private readonly host: Host,
  ) {}

  async run(signal: AbortSignal): Promise<ProbeReport> {
    try {
      const facts = await this.survey();
      const closed = await this.host.maintenance();
      if (closed !== null) return { ...facts, health: 'unhealthy', reason: closed, inMaintenance: true };
      return { ...facts, ...(await this.tryGuest(signal)) };
    } catch (error) {
      const { message, native } = fromXapi(error, 'asking the pool');
      return { ...NOTHING_KNOWN, health: 'unhealthy', reason: native ? `${message}: ${native}` : message };
    }
  }

  async survey(): Promise<Survey> {
    const { hosts, members } = await this.host.refresh();
    return { ...NOTHING_KNOWN, ...(await this.facts(hosts.flatMap((ref) => members.get(ref) ?? []))) };
  }

  private async facts(hosts: readonly HostRecord[]) {
    const [first] = hosts as [HostRecord];
    const { uefi, secureBoot, hvm, pv } = await this.host.capabilities();
    const { product_brand: brand = 'XenServer', product_version: version = '0', xapi = '' } = first.software_version;
    const flags = await this.commonFlags(hosts);
    return {
      version: `${brand} ${version}${xapi ? ` (xapi ${xapi})` : ''}`,
      hypervisorVersion: Math.min(...hosts.map(productVersion)),
      traits: [
        ...['COMPUTE_NODE', 'COMPUTE_ARCH_X86_64', 'COMPUTE_IMAGE_TYPE_VHD', 'COMPUTE_IMAGE_TYPE_RAW'],
        ...['COMPUTE_STORAGE_BUS_XEN', 'COMPUTE_NET_VIF_MODEL_NETFRONT', 'CUSTOM_HYPERVISOR_XENSERVER'],
        ...['COMPUTE_GRAPHICS_MODEL_VGA', 'COMPUTE_FIRMWARE_BIOS', ...traitsOf(SERVED)],
        ...((await this.locksPorts()) ? [networkNeeds.antiSpoofing.trait, networkNeeds.guardedIpv6.trait] : []),
        ...(hvm
          ? [
              'COMPUTE_STORAGE_BUS_IDE',
              'COMPUTE_NET_VIF_MODEL_RTL8139',
              'COMPUTE_NET_VIF_MODEL_E1000',
              'CUSTOM_VM_MODE_HVM',
            ]
          : []),
        ...(pv ? [PARAVIRTUAL] : []),
        ...(uefi && hvm ? ['COMPUTE_FIRMWARE_UEFI'] : []),
        ...(secureBoot && hvm ? ['COMPUTE_SECURITY_UEFI_SECURE_BOOT'] : []),
        // A guest of this pool runs no guests of its own.
        ...cpuTraits(flags.filter((flag) => flag !== 'vmx' && flag !== 'svm')),
      ],
      cpuInfo: {
        arch: 'x86_64',
        model: first.cpu_info.modelname ?? '',
        vendor: first.cpu_info.vendor ?? '',
        topology: {
          sockets: Number(first.cpu_info.socket_count ?? 1),
          cores: Number(first.cpu_info.cpu_count ?? 1),
          threads: 1,
        },
        features: flags,
      },
    };
  }

  /** Locked ports are a matter of the licence. */
  private async locksPorts(): Promise<boolean> {
    const { pool } = await this.host.place();
    const { restrict_vif_locking: restricted } = await this.xapi.call<XapiMap>('pool.get_restrictions', pool.ref);
    return restricted === 'false';
  }

  /** What a guest has wherever it runs. */
  private async commonFlags(hosts: readonly HostRecord[]): Promise<string[]> {
    const each: Set<string>[] = [];
    for (const {
      host_CPUs: [cpu],
    } of hosts)
      if (cpu) each.push(new Set((await this.xapi.call<string>('host_cpu.get_flags', cpu)).split(' ')));
    const [first = new Set<string>(), ...others] = each;
    return [...first].filter((flag) => flag !== '' && others.every((flags) => flags.has(flag))).sort();
  }

  /**
   * Runs and removes a guest without disks: a pool where none runs is of no use. Its firmware finds nothing to boot, and would
   * switch it off or reset it half a minute later; what ends sooner does not run.
   */
  private async tryGuest(signal: AbortSignal): Promise<Pick<ProbeReport, 'health' | 'reason'>> {
    const { member, pool } = await this.host.place();
    const who = member ? `member ${member.record.name_label}` : 'the pool';
    try {
      await this.removeProbes();
      const ref = await this.xapi.call<Ref>('VM.create', {
        ...machineFor(PROBE_GUEST, await this.host.capabilities(), PLAIN_TEMPLATE),
        actions_after_reboot: 'destroy',
        other_config: { [PROBE_KEY]: member?.record.uuid ?? pool.uuid },
      });
      try {
        const args = member ? [ref, member.ref, false, false] : [ref, false, false];
        await this.xapi.run(member ? 'VM.start_on' : 'VM.start', args, { signal, limit: 25_000 });
        if (!(await this.goesOn(ref, signal)))
          return { health: 'unhealthy', reason: `${who} has built a throw-away guest, which ended as soon as it ran` };
      } finally {
        await this.removeProbes();
      }
      return { health: 'healthy', reason: `${who} has run a throw-away guest` };
    } catch (error) {
      const { message, native } = fromXapi(error, `running a throw-away guest on ${who}`);
      return { health: 'unhealthy', reason: native ? `${message}: ${native}` : message };
    }
  }

  /** It is seen running until nothing more is told of it. */
  private async goesOn(vm: Ref, signal: AbortSignal): Promise<boolean> {
    for (let token: EventToken | null = null; ; ) {
      const batch: EventBatch = await this.xapi.events([`VM/${vm}`], token, QUIET);
      token = batch.token;
      if (batch.events.some(({ snapshot }) => (snapshot as VmRecord | undefined)?.power_state !== 'Running'))
        return false;
      if (batch.events.length === 0) return true;
      refuseAborted(signal);
    }
  }

  private async removeProbes(): Promise<void> {
    const { member, pool } = await this.host.place();
    const all = await this.xapi.call<Record<Ref, VmRecord>>('VM.get_all_records');
    for (const [ref, { other_config, power_state }] of Object.entries(all)) {
      if (other_config[PROBE_KEY] !== (member?.record.uuid ?? pool.uuid)) continue;
      if (power_state !== 'Halted') await this.xapi.run('VM.hard_shutdown', [ref]);
      await this.xapi.run('VM.destroy', [ref]);
    }
  }
}
