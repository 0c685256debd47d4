import { HypervisorError } from '../hypervisor-driver.js';

/** A domain as `xl list -v` tells of it. */
export interface Domain {
  readonly name: string;
  readonly domid: number;
  readonly uuid: string;
  readonly memory: number;
  readonly vcpus: number;
  readonly state: DomainState;
  /** Seconds of CPU. */
  readonly time: number;
}

export type DomainState = 'running' | 'paused' | 'off' | 'crashed';

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
/** Read from its end: a name can hold anything, what follows cannot. */
const LINE =
  /^(.*?)\s+(\d+)\s+(\d+)\s+(\d+)\s+([r-][b-][p-][s-][rscw?-][d-])\s+(\d+(?:\.\d+)?)\s+([0-9a-f-]{36})\s+\S+(?:\s+\S+)?\s*$/;

/** The fifth is why it has shut down: to reset, to have its memory saved, by a crash or a watchdog. */
const stateOf = (flags: string): DomainState => {
  if (flags[4] === 'c') return 'crashed';
  if (flags[5] === 'd') return 'off';
  if (flags[4] === 's') return 'paused';
  if (flags[4] === 'r' || flags[4] === 'w') return 'running';
  if (flags[3] === 's') return 'off';
  return flags[2] === 'p' ? 'paused' : 'running';
};

/** @throws HypervisorError `fault` when it is no list: a guest that is not seen would be taken for one that is off */
export const parseDomains = (text: string): Domain[] => {
  const [head, ...lines] = text.split('\n');
  if (!/^Name\s+ID\s+Mem\s+VCPUs\s+State\s+Time\(s\)\s+UUID/.test(head ?? '')) throw unreadable('xl list', head ?? '');
  return lines.filter(Boolean).map((line) => {
    const [, name, domid, memory, vcpus, flags, time, uuid] = LINE.exec(line) ?? [];
    if (uuid === undefined || !UUID.test(uuid)) throw unreadable('xl list', line);
    return {
      name: name!,
      domid: Number(domid),
      uuid,
      memory: Number(memory),
      vcpus: Number(vcpus),
      state: stateOf(flags!),
      time: Number(time),
    };
  });
};

/** Seconds of CPU of each vCPU, from `xl vcpu-list`. */
export const parseVcpuTimes = (text: string): number[] =>
  text
    .split('\n')
    .slice(1)
    .flatMap((line) => {
      const [, vcpu, time] = /\s+\d+\s+(\d+)\s+(?:\d+|-)\s+\S{3}\s+(\d+(?:\.\d+)?)\s+\S.*$/.exec(line) ?? [];
      return time === undefined ? [] : [{ vcpu: Number(vcpu), time: Number(time) }];
    })
    .sort((a, b) => a.vcpu - b.vcpu)
    .map(({ time }) => time);

/** What `xl info` says of the host. Sizes in MiB. */
export interface XenInfo {
  readonly version: string;
  readonly vcpus: number;
  readonly totalMemory: number;
  readonly freeMemory: number;
  readonly pv: boolean;
  readonly hvm: boolean;
  /** How Xen can see what a domain changes in its memory; null when it does not say. */
  readonly paging: { readonly hap: boolean; readonly shadow: boolean } | null;
  /** Words of CPUID as the hypervisor sees the processor; empty when it does not say. */
  readonly cpuWords: string;
  readonly topology: { readonly sockets: number; readonly cores: number; readonly threads: number };
}

export const parseInfo = (text: string): XenInfo => {
  const facts = new Map(
    text.split('\n').flatMap((line) => {
      const [, name, value] = /^(\w+)\s*:\s*(.*)$/.exec(line) ?? [];
      return name === undefined ? [] : [[name, value!.trim()] as const];
    }),
  );
  const number = (name: string): number => {
    const value = Number(facts.get(name) || 'missing');
    if (!Number.isInteger(value) || value < 0) throw unreadable('xl info', `${name}: ${facts.get(name)}`);
    return value;
  };
  const capabilities = facts.get('xen_caps') ?? '';
  // Older ones have no virt_caps, and could run paravirtual guests always.
  const virtual = facts.get('virt_caps')?.split(/\s+/) ?? [];
  const [cores, threads, vcpus] = [number('cores_per_socket'), number('threads_per_core'), number('nr_cpus')];
  return {
    version: facts.get('xen_version') ?? `${number('xen_major')}.${number('xen_minor')}${facts.get('xen_extra') ?? ''}`,
    vcpus,
    totalMemory: number('total_memory'),
    freeMemory: number('free_memory'),
    pv: /\bxen-\d+\.\d+-x86_64\b/.test(capabilities) && (virtual.length === 0 || virtual.includes('pv')),
    paging:
      virtual.includes('hap') || virtual.includes('shadow') || virtual.includes('pv')
        ? { hap: virtual.includes('hap'), shadow: virtual.includes('shadow') }
        : null,
    hvm: /\bhvm-\d+\.\d+-x86_64\b/.test(capabilities) && (virtual.length === 0 || virtual.includes('hvm')),
    cpuWords: facts.get('hw_caps') ?? '',
    topology: { sockets: Math.max(1, Math.floor(vcpus / Math.max(1, cores * threads))), cores, threads },
  };
};

/** As Nova counts: major * 1,000,000 + minor * 1,000 + patch. */
export const versionNumber = (version: string): number => {
  const [major = 0, minor = 0, patch = 0] = (version.match(/\d+/g) ?? []).map(Number);
  return major * 1_000_000 + minor * 1_000 + patch;
};

/** Virtual devices of `xl block-list`: their numbers. */
export const parseDeviceNumbers = (text: string): number[] =>
  text
    .split('\n')
    .slice(1)
    .flatMap((line) => {
      const [, number] = /^(\d+)\s/.exec(line) ?? [];
      return number === undefined ? [] : [Number(number)];
    });

/** MAC address to index of the interface, of `xl network-list`. */
export const parseInterfaces = (text: string): Map<string, number> =>
  new Map(
    text
      .split('\n')
      .slice(1)
      .flatMap((line) => {
        const [, index, mac] = /^(\d+)\s+\d+\s+([0-9a-f]{2}(?::[0-9a-f]{2}){5})\s/i.exec(line) ?? [];
        return mac === undefined ? [] : [[mac.toLowerCase(), Number(index)] as const];
      }),
  );

const unreadable = (command: string, what: string): HypervisorError =>
  new HypervisorError('fault', 'the Xen host gave an answer that is none', `${command}: ${what.slice(0, 500)}`);
