import { randomUUID } from 'node:crypto';
import { mib, networkNeeds } from '@omnivisor/contracts';
import { z } from 'zod';
import { traitsOf } from '../common/wishes.js';
import type { ProbeReport } from '../hypervisor-driver.js';
import { HypervisorError } from '../hypervisor-driver.js';
import { SERVED } from './hardware.js';
import { PROTOCOL } from './host-channel.js';
import { CmdletError } from './host-errors.js';
import { type HostFact, OLDEST_BUILD, VmHost } from './host-facts.js';
import { settledSoon } from './members.js';
import { isPreparedToMigrate, mayMigrate } from './migration.js';
import type { HyperVNode, ReadyNode } from './node.js';
import { powerOf } from './operations/machines.js';
import { CONSOLE_LOG, pipeOf } from './paths.js';

export interface Probed {
  readonly report: ProbeReport;
  /** Whether guests can be sent to other hosts. */
  readonly liveMigration: boolean;
  /** Whether guests are asked what they tell of themselves. */
  readonly guestIntegration: boolean;
  /** Whether serial ports of guests can be opened. */
  readonly serialPorts: boolean;
}

const NAMES: readonly (readonly [number, string])[] = [
  [14393, 'Windows Server 2016'],
  [9600, 'Windows Server 2012 R2'],
  [9200, 'Windows Server 2012'],
  [7600, 'Windows Server 2008 R2'],
];

const TRAITS = [
  'COMPUTE_NODE',
  'COMPUTE_ARCH_X86_64',
  'COMPUTE_IMAGE_TYPE_VHD',
  'COMPUTE_IMAGE_TYPE_VHDX',
  'COMPUTE_FIRMWARE_BIOS',
  'COMPUTE_FIRMWARE_UEFI',
  'COMPUTE_SECURITY_UEFI_SECURE_BOOT',
  'COMPUTE_STORAGE_BUS_IDE',
  'COMPUTE_STORAGE_BUS_SCSI',
  'CUSTOM_HYPERVISOR_HYPERV',
  'CUSTOM_VM_MODE_HVM',
  ...traitsOf(SERVED),
  ...[networkNeeds.antiSpoofing, networkNeeds.prefixes, networkNeeds.securityGroups].map(({ trait }) => trait),
] as const;

/** All of them are Windows 10.0; so the build counts, which grows with each: 10.0.20348 is 10020348, as Nova reads it. */
const versionOf = (build: number): number => 10_000_000 + build;

const answer = (
  health: ProbeReport['health'],
  reason: string,
  version: string | null = null,
  details: { build?: number; traits?: readonly string[]; processors?: readonly string[] } = {},
): ProbeReport => ({
  health,
  reason,
  version,
  hypervisorType: 'hyperv',
  hypervisorVersion: versionOf(details.build ?? 0),
  traits: details.traits ?? [],
  cpuInfo: { arch: 'x86_64', model: details.processors?.[0] ?? 'unknown' },
});

class Finding extends Error {
  constructor(
    readonly health: 'unhealthy' | 'undetected',
    message: string,
    readonly version: string | null = null,
    /** It may come back by itself: the other members of a cluster do without it until then. */
    readonly isAway = false,
  ) {
    super(message);
  }
}

/** What was found of those that answer, if what keeps the others away is not for an operator to mend first. */
const sorted = <T>(results: readonly PromiseSettledResult<T>[]): { found: T[]; away: Finding[] } => {
  const found = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  const findings = results.flatMap((result) => (result.status === 'rejected' ? [asFinding(result.reason)] : []));
  const worst = findings.find(({ isAway }) => !isAway) ?? (found.length === 0 ? findings[0] : undefined);
  if (worst) throw worst;
  return { found, away: findings };
};

const NOTHING = { liveMigration: false, guestIntegration: false, serialPorts: false };

/**
 * @param generation of an image that does not say
 * @returns healthy when a guest without a disk came on; otherwise what is in the way, in words for an operator
 */
export const probeNodes = async (
  nodes: readonly HyperVNode[],
  switches: readonly string[],
  generation: 1 | 2,
  signal: AbortSignal,
): Promise<Probed> => {
  if (nodes.length === 0)
    return {
      report: answer('undetected', 'this is no Windows host, and OMNIVISOR_HYPERV_HOSTS names none'),
      ...NOTHING,
    };
  const aborted = new Promise<never>((_, reject) => {
    const stop = () => reject(new Finding('unhealthy', 'the probe was not done in time'));
    if (signal.aborted) stop();
    signal.addEventListener('abort', stop, { once: true });
  });
  aborted.catch(() => undefined);
  let version: string | null = null;
  try {
    const asked = settledSoon(nodes.map((node) => probeNode(node, switches)));
    const { found, away } = sorted(await Promise.race([asked, aborted]));
    version = found[0]!.version;
    const hosts = [
      `a guest was switched on and off on ${found.map((f) => f.version).join('; ')}`,
      ...found.flatMap((f) => f.lacks),
      ...away.map(({ message }) => `another member of the cluster is left out: ${message}`),
    ].join('; ');
    return {
      report: answer('healthy', hosts, version, {
        // What an image asks for holds wherever in the cluster its guest runs.
        build: Math.min(...found.map((f) => f.build)),
        traits: [...TRAITS, `CUSTOM_DEFAULT_FIRMWARE_${generation === 1 ? 'BIOS' : 'UEFI'}`],
        processors: found[0]!.processors,
      }),
      liveMigration: found.every((f) => f.migrates),
      guestIntegration: found.every((f) => f.asksWmi),
      serialPorts: found.every((f) => f.opensPorts),
    };
  } catch (error) {
    const { health, message, version: told } = asFinding(error);
    return { report: answer(health, message, told ?? version), ...NOTHING };
  }
};

const asFinding = (error: unknown): Finding => {
  if (error instanceof Finding) return error;
  if (error instanceof HypervisorError)
    return new Finding(
      'unhealthy',
      `${error.message}${error.native ? `: ${error.native}` : ''}`,
      null,
      error.code === 'unavailable',
    );
  return new Finding('unhealthy', String(error));
};

const probeNode = async (node: HyperVNode, switches: readonly string[]) => {
  const hello = await node.host.hello();
  const version = `${hello.product}, build ${hello.build}`;
  if (hello.build < OLDEST_BUILD) {
    const name = NAMES.find(([build]) => hello.build >= build)?.[1] ?? 'this Windows';
    throw new Finding(
      'unhealthy',
      `${hello.product} is too old (${name}, build ${hello.build}): Omnivisor drives Windows Server 2016 to 2025`,
      version,
    );
  }
  if (hello.protocol !== PROTOCOL)
    throw new Finding(
      'unhealthy',
      'the host script is of another release of Omnivisor: install the one of this',
      version,
    );
  if (hello.languageMode !== 'FullLanguage')
    throw new Finding(
      'unhealthy',
      `PowerShell runs the host script in ${hello.languageMode}: let the host's policy trust its signature`,
      version,
    );
  const on = await node.ready();
  const facts = await node.facts();
  if (!facts.Module)
    throw new Finding('undetected', 'the Hyper-V role with its PowerShell module is not installed', version);
  const host = await vmHostOf(on, version);
  const there = new Set(
    (await on.host.get('Get-VMSwitch', {}, z.object({ Name: z.string() }))).map(({ Name }) => Name),
  );
  const missing = switches.filter((name) => !there.has(name));
  if (missing.length > 0) throw new Finding('unhealthy', `there is no virtual switch ${missing.join(', ')}`, version);
  const { opensPorts } = await runGuest(on);
  const asksWmi = facts.WmiError === null;
  const delegation = node.delegationOf(facts);
  return {
    version,
    build: hello.build,
    processors: facts.Processors,
    asksWmi,
    opensPorts,
    migrates: asksWmi && mayMigrate(host, delegation),
    lacks: lacksOf(facts, { opensPorts, isDelegationUnread: isPreparedToMigrate(host) && delegation === null }),
  };
};

/** The service is asked itself: an account that is no administrator is not told of services. */
const vmHostOf = async ({ host }: ReadyNode, version: string): Promise<VmHost> => {
  try {
    return (await host.get('Get-VMHost', {}, VmHost))[0]!;
  } catch (error) {
    if (!(error instanceof CmdletError)) throw error;
    if (error.denied)
      throw new Finding('unhealthy', 'the account of the agent is no member of Hyper-V Administrators', version);
    throw new Finding(
      'unhealthy',
      `the service vmms does not answer, or not to this account: ${error.native}`,
      version,
      true,
    );
  }
};

/** What the host does without, in words for an operator. */
const lacksOf = (
  { WmiError }: HostFact,
  { opensPorts, isDelegationUnread }: { opensPorts: boolean; isDelegationUnread: boolean },
): string[] => [
  ...(WmiError === null
    ? []
    : [
        `WMI of Hyper-V does not answer (${WmiError.trim()}): guests are not asked to shut down, nor what they tell of themselves; no events, no live migration`,
      ]),
  ...(opensPorts ? [] : ['no serial console and no console log: the account may not open the serial ports of guests']),
  ...(isDelegationUnread
    ? ['no live migration: its delegation could not be read, and OMNIVISOR_HYPERV_DELEGATES_TO states none']
    : []),
];

const PROBE = 'omnivisor-probe-';

/** The firmware of a guest without a disk runs; what an earlier probe left goes too. */
const runGuest = async (on: ReadyNode): Promise<{ opensPorts: boolean }> => {
  const folder = `${on.paths.root}\\probe`;
  for (const vm of await on.machines.all())
    if (vm.Name.startsWith(PROBE) && vm.Path.toLowerCase().startsWith(folder.toLowerCase()))
      await removeGuest(on, vm.Id);
  await on.files.makeFolder(folder);
  const id = randomUUID();
  const memory = { startup: mib(64), dynamic: null };
  const vmId = await on.machines.create(`${PROBE}${id}`, { generation: 2, secureBoot: null }, memory, folder);
  try {
    await on.machines.setSerialPort(vmId, id);
    await on.machines.start(vmId);
    const state = (await on.machines.byId(vmId))?.State ?? 'gone';
    if (powerOf(state) !== 'running') throw new Finding('unhealthy', `a guest was switched on, and is ${state}`);
    const port = { VMId: vmId, Pipe: pipeOf(id), Log: `${folder}\\${CONSOLE_LOG}` };
    return { opensPorts: !(await isDenied(on.host.run('Open-HostConsole', port))) };
  } finally {
    await removeGuest(on, vmId);
    await on.files.remove(folder);
  }
};

/** One that does not answer at once is none that may not be opened. */
const isDenied = async (opening: Promise<void>): Promise<boolean> => {
  try {
    await opening;
    return false;
  } catch (error) {
    if (!(error instanceof CmdletError) || !(error.denied || error.code === 'unavailable')) throw error;
    return error.denied;
  }
};

const removeGuest = async (on: ReadyNode, vmId: string): Promise<void> => {
  await on.machines.turnOff(vmId);
  await on.machines.remove(vmId);
};
