import { randomUUID } from 'node:crypto';
import { networkNeeds, ServerId } from '@omnivisor/contracts';
import { cpuTraits } from '../common/cpu-traits.js';
import { HypervisorError, type ProbeReport } from '../hypervisor-driver.js';
import { DOMAIN_TYPES, type DomainType } from './definition.js';
import { guardOf } from './guard.js';
import type { Capabilities } from './hardware.js';
import type { Host } from './host-shell.js';
import { probeKernel } from './probe-kernel.js';
import { CAN_GUARD, FACTS, INFO, PROBE, STORAGE } from './scripts.js';
import { parseInfo, versionNumber, type XenInfo } from './xl-output.js';

const NOTHING_KNOWN = {
  ...{ version: null, hypervisorType: 'xen', hypervisorVersion: 0, traits: [], cpuInfo: {} },
} as const satisfies Partial<ProbeReport>;

/** What dom0 says of itself beside Xen. Sizes in KiB. */
export interface HostFacts {
  readonly cpuFlags: readonly string[];
  readonly cpuModel: string;
  readonly disk: { readonly total: number; readonly free: number };
  readonly bridges: readonly string[];
  readonly logsConsoles: boolean;
}

export const parseFacts = (text: string): HostFacts => {
  const lines = text.split('\n');
  const after = (word: string) =>
    lines.filter((line) => line.startsWith(`${word} `)).map((line) => line.slice(word.length + 1));
  const [total = 0, free = 0] = (after('disk')[0] ?? '').split(' ').map(Number);
  return {
    cpuFlags: (after('flags')[0] ?? '').split(' ').filter(Boolean),
    cpuModel: after('model')[0] ?? 'unknown',
    disk: { total, free },
    bridges: after('bridge'),
    logsConsoles: lines.includes('console log'),
  };
};

/**
 * The name of what is mounted where disks of guests are shared.
 * @throws HypervisorError `fault` when it is not what it was
 */
export const storageAt = async (host: Host, root: string, folder: string, signal?: AbortSignal): Promise<string> => {
  const name = await host.look(STORAGE, [root, folder, randomUUID()], signal ? { signal } : {});
  if (name.trim() === '')
    throw new HypervisorError('fault', `${folder} is not the storage that it was: it is not mounted, or another`);
  return name.trim();
};

export interface Probed {
  readonly report: ProbeReport;
  readonly capabilities: Capabilities;
  readonly logsConsoles: boolean;
}

const NO_TYPE: Capabilities = { pv: false, pvh: false, hvm: false };
const NONE: Omit<Probed, 'report'> = { capabilities: NO_TYPE, logsConsoles: false };

export interface ProbeOptions {
  /** Folder in dom0. */
  readonly root: string;
  /** Another, where there is one for disks. */
  readonly sharedDisks?: string;
  /** Of guests whose image does not say. */
  readonly type: DomainType;
  readonly bridges: readonly string[];
  /** Times as long as usual that a guest may take. */
  readonly patience?: number;
  /** Types of which a guest has run here before: one that does not run now is more likely late than impossible. */
  readonly ran?: Capabilities;
}

export const probe = async (
  host: Host,
  { root, type, bridges, sharedDisks = '', patience = 1, ran = NO_TYPE }: ProbeOptions,
  signal: AbortSignal,
): Promise<Probed> => {
  const fail = (health: 'unhealthy' | 'undetected', reason: string, found: Partial<ProbeReport> = {}): Probed => ({
    ...NONE,
    report: { ...NOTHING_KNOWN, ...found, health, reason },
  });
  try {
    const info = parseInfo(await host.look(INFO, [root], { signal }));
    const facts = parseFacts(await host.look(FACTS, [root, sharedDisks], { signal }));
    const claimed = { pv: info.pv, pvh: info.hvm, hvm: info.hvm };
    const untried = known(info, facts, NONE.capabilities);
    const { version } = untried;
    if (!claimed[type])
      return fail('unhealthy', `${version} runs no ${type} domains: choose another OMNIVISOR_XEN_TYPE`, untried);
    if (sharedDisks !== '' && facts.disk.total === 0)
      return fail('unhealthy', `dom0 has no folder ${sharedDisks}`, untried);
    if (sharedDisks !== '') await storageAt(host, root, sharedDisks, signal);
    const missing = bridges.filter((bridge) => !facts.bridges.includes(bridge));
    if (missing.length > 0) return fail('unhealthy', `dom0 has no bridge ${missing.join(', ')}`, untried);
    const { capabilities, why } = await tryTypes(host, { root, type, patience, ran }, claimed, signal);
    const found = known(info, facts, capabilities);
    const types = DOMAIN_TYPES.filter((one) => capabilities[one]).join(', ');
    const guards = (await canGuard(host, root, signal)) ? GUARDED : [];
    const log = facts.logsConsoles ? '' : '; xenconsoled logs no guests, so there is no console output';
    return {
      capabilities,
      logsConsoles: facts.logsConsoles,
      report: {
        ...NOTHING_KNOWN,
        ...found,
        traits: [...found.traits, ...guards],
        health: 'healthy',
        reason: `a guest ran on ${version} as ${types}${why}${log}${guards.length > 0 ? '' : NO_GUARD}`,
      },
    };
  } catch (error) {
    const { message, native = '', code } = error as HypervisorError;
    if (!(error instanceof HypervisorError)) return fail('unhealthy', String(error));
    if (signal.aborted) return fail('unhealthy', 'the probe was not done in time');
    const absent = !host.shell.isRemote && code === 'fault' && /not found|No such file|privcmd/i.test(native);
    if (absent) return fail('undetected', 'this is no dom0 of Xen, and OMNIVISOR_XEN_HOST names none');
    return fail('unhealthy', native ? `${message}: ${native}` : message);
  }
};

const GUARDED = (['antiSpoofing', 'otherMacs', 'guardedIpv6', 'securityGroups'] as const).map(
  (need) => networkNeeds[need].trait,
);
const NO_GUARD = '; dom0 lacks nft or br_netfilter, so ports need port security off';

/** Whether the kernel and the nft of dom0 take a filter of the kind that guarded ports get. */
const canGuard = async (host: Host, root: string, signal: AbortSignal): Promise<boolean> => {
  const [mac, [portId, id]] = ['fa:16:3e:00:00:01', [randomUUID(), ServerId.parse(randomUUID())]];
  const any = { protocol: null, portMin: null, portMax: null };
  const rules = [
    { ...any, direction: 'egress' as const, ethertype: 'IPv6' as const, remotePrefixes: ['2001:db8::/32'] },
    {
      ...any,
      direction: 'ingress' as const,
      ethertype: 'IPv4' as const,
      remotePrefixes: ['192.0.2.0/24'],
      protocol: 'tcp',
      portMin: 22,
      portMax: 22,
    },
  ];
  const guard = { addresses: ['192.0.2.1', '2001:db8::1'].map((ip) => ({ mac, ip })), rules };
  const filter = guardOf(id, [{ portId, mac, mtu: 1500, bridge: 'br0', zone: 1, guard }]);
  return (await host.look(CAN_GUARD, [root], { input: Buffer.from(filter), signal })).trim() === 'guards';
};

/**
 * Which types of domains run here, of those that Xen claims: a guest of each is tried.
 * @returns why any did not run now, as the end of a sentence
 * @throws HypervisorError when the wanted one does not
 */
const tryTypes = async (
  host: Host,
  { root, type: wanted, patience, ran }: Required<Omit<ProbeOptions, 'bridges' | 'sharedDisks'>>,
  claimed: Capabilities,
  signal: AbortSignal,
): Promise<{ readonly capabilities: Capabilities; readonly why: string }> => {
  const capabilities = { ...NO_TYPE };
  let why = '';
  for (const type of DOMAIN_TYPES.filter((one) => claimed[one]))
    try {
      const seconds = Math.ceil((type === wanted ? PATIENCE.wanted : PATIENCE.other) * patience);
      await runGuest(host, root, { type, seconds }, signal);
      capabilities[type] = true;
    } catch (error) {
      const { code, native = '', message } = error as HypervisorError;
      const isLate = code === 'unavailable';
      if (signal.aborted || (isLate && type === wanted)) throw error;
      const because = `no ${type} guest ran: ${isLate ? 'it did not end in time' : (told(native) ?? message)}`;
      if (type === wanted) throw new HypervisorError(code, because);
      capabilities[type] = ran[type];
      why += ran[type] ? `; ${because}, as one has before` : `; ${because}`;
    }
  return { capabilities, why };
};

/** The line of xl that says why. */
const told = (text: string): string | undefined =>
  text
    .split('\n')
    .find((line) => /error|reason code/i.test(line))
    ?.slice(0, 200);

/** Seconds for a guest that switches itself off at once. One that hangs is not to take the time of the whole probe. */
const PATIENCE = { wanted: 60, other: 5 };

/** A pvh domain of 16 MiB has no room for tables of its own; a hvm domain has this in the place of its firmware. */
const SETTINGS: Readonly<Record<DomainType, { readonly config: string; readonly kernel: string }>> = {
  pv: { config: 'memory = 16\n', kernel: 'kernel' },
  pvh: { config: 'memory = 32\n', kernel: 'kernel' },
  hvm: { config: 'memory = 32\nvga = "none"\nvnc = 0\n', kernel: 'firmware_override' },
};

/** @throws HypervisorError `fault` when it did not switch itself off */
const runGuest = async (
  host: Host,
  root: string,
  { type, seconds }: { readonly type: DomainType; readonly seconds: number },
  signal: AbortSignal,
): Promise<void> => {
  const name = `omnivisor-probe-${randomUUID()}`;
  const { config, kernel } = SETTINGS[type];
  const ends = ['poweroff', 'reboot', 'crash'].map((end) => `on_${end} = "destroy"\n`).join('');
  const domain = `name = "${name}"\ntype = "${type}"\n${config}${ends}`;
  const said = await host.call(PROBE, [root, name, domain, kernel, `${seconds}`], { input: probeKernel(), signal });
  if (!/reason code 0\b/.test(said)) throw new HypervisorError('fault', 'a guest was started and did not run', said);
};

const known = (info: XenInfo, facts: HostFacts, runs: Capabilities) => ({
  version: `Xen ${info.version}`,
  hypervisorVersion: versionNumber(info.version),
  traits: [
    ...['COMPUTE_NODE', 'COMPUTE_ARCH_X86_64', 'COMPUTE_IMAGE_TYPE_RAW'],
    ...['COMPUTE_STORAGE_BUS_XEN', 'COMPUTE_NET_VIF_MODEL_NETFRONT', 'CUSTOM_HYPERVISOR_XEN'],
    ...(runs.pv || runs.pvh ? ['AMI', 'AKI', 'ARI'].map((format) => `COMPUTE_IMAGE_TYPE_${format}`) : []),
    ...(runs.pv ? ['CUSTOM_VM_MODE_XEN'] : []),
    ...(runs.pvh ? ['CUSTOM_VM_MODE_PVH'] : []),
    ...(runs.hvm ? ['CUSTOM_VM_MODE_HVM', 'COMPUTE_FIRMWARE_BIOS'] : []),
    // A guest runs no guests of its own here.
    ...cpuTraits(facts.cpuFlags.filter((flag) => flag !== 'vmx' && flag !== 'svm')),
  ],
  cpuInfo: { arch: 'x86_64', model: facts.cpuModel, topology: info.topology, features: facts.cpuFlags },
});
