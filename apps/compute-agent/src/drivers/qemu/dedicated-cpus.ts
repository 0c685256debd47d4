import { type CpuPolicy, cpuPolicyOf, type FlavorSnapshot } from '@omnivisor/contracts';
import { cpuList } from '../common/cpu-set.js';
import { type GuestSpec, HypervisorError } from '../hypervisor-driver.js';
import { hasThreads, type MachineCpu } from './machine-cpus.js';

/** Which of the machine's processors are for whom. */
export interface CpuSets {
  /** Each is one vCPU's of a guest that has CPUs of its own. */
  readonly dedicated: readonly number[];
  /** For all other guests; what else the agent may run on, when not given. */
  readonly shared?: readonly number[];
}

/** Processors for guests without CPUs of their own; null: wherever the kernel likes. */
export const sharedCpus = (sets: CpuSets | undefined, usual: readonly number[]): readonly number[] | null =>
  sets ? (sets.shared ?? usual.filter((cpu) => !sets.dedicated.includes(cpu))) : null;

/**
 * @param granted those of both sets that processes of this host can have
 * @throws HypervisorError `unavailable` for sets that cannot be
 */
export const refuseSets = ({ dedicated, shared }: CpuSets, granted: readonly number[]): void => {
  const missing = [...dedicated, ...(shared ?? [])].filter((cpu) => !granted.includes(cpu));
  if (missing.length > 0)
    throw new HypervisorError('unavailable', `there are no CPUs ${cpuList(missing)} here (OMNIVISOR_CPU_…_SET)`);
  const both = shared?.filter((cpu) => dedicated.includes(cpu)) ?? [];
  if (both.length > 0)
    throw new HypervisorError('unavailable', `CPUs ${cpuList(both)} are dedicated and shared (OMNIVISOR_CPU_…_SET)`);
};

/** What flavor and image say of CPUs. */
export interface CpuWishes {
  readonly flavor: Pick<FlavorSnapshot, 'vcpus' | 'extraSpecs'>;
  readonly image: Pick<GuestSpec['image'], 'properties'>;
}

/** @throws HypervisorError `unsupported` when flavor and image want what cannot be, together or at all */
export const policyOf = ({ flavor, image }: CpuWishes): CpuPolicy => {
  const policy = cpuPolicyOf(flavor, image);
  if (policy.conflict !== null) throw new HypervisorError('unsupported', policy.conflict);
  if (policy.policy === 'mixed') throw new HypervisorError('unsupported', 'this host cannot serve hw:cpu_policy=mixed');
  return policy;
};

/**
 * Processors for a guest that has CPUs of its own, one for each vCPU, all of one memory node; null for another guest.
 * @param taken those of other guests
 * @throws HypervisorError `unsupported` for what this machine never has, `noResources` when others have too many
 */
export const chooseCpus = (
  spec: CpuWishes,
  dedicated: readonly number[],
  taken: ReadonlySet<number>,
  machine: readonly MachineCpu[],
): number[] | null => {
  const { policy, threads } = policyOf(spec);
  if (policy === 'shared') return null;
  const { vcpus } = spec.flavor;
  if (dedicated.length === 0)
    throw new HypervisorError('unsupported', 'this host has no dedicated CPUs', 'OMNIVISOR_CPU_DEDICATED_SET');
  const isThreaded = hasThreads(machine.filter(({ cpu }) => dedicated.includes(cpu)));
  if (threads === 'isolate' && isThreaded)
    throw new HypervisorError(
      'unsupported',
      'this host cannot serve hw:cpu_thread_policy=isolate: its cores have threads',
    );
  if (threads === 'require' && !isThreaded)
    throw new HypervisorError(
      'unsupported',
      'this host cannot serve hw:cpu_thread_policy=require: its cores have none',
    );
  const perCore = Math.max(...machine.map(({ siblings }) => siblings.length));
  if (threads === 'require' && vcpus % perCore !== 0)
    throw new HypervisorError(
      'unsupported',
      `hw:cpu_thread_policy=require needs whole cores, of ${perCore} threads here`,
    );
  const free = machine.filter(({ cpu }) => dedicated.includes(cpu) && !taken.has(cpu));
  const nodes = groups(free, ({ node }) => node).sort((a, b) => a.length - b.length);
  for (const node of nodes) {
    const cpus = fromNode(node, vcpus, threads === 'require');
    if (cpus) return cpus;
  }
  const most = nodes.at(-1)?.length ?? 0;
  throw new HypervisorError(
    'noResources',
    `not enough dedicated CPUs: ${vcpus} wanted, ${most} free on one memory node`,
  );
};

const groups = (cpus: readonly MachineCpu[], by: (cpu: MachineCpu) => number): MachineCpu[][] => {
  const found = new Map<number, MachineCpu[]>();
  for (const cpu of cpus) found.set(by(cpu), [...(found.get(by(cpu)) ?? []), cpu]);
  return [...found.values()];
};

/** Whole cores first, then threads of cores that are in use already. */
const fromNode = (free: readonly MachineCpu[], count: number, wholeOnly: boolean): number[] | null => {
  if (free.length < count) return null;
  const cores = groups(free, ({ siblings }) => siblings[0]!);
  const isWhole = (core: readonly MachineCpu[]) => core.length === core[0]!.siblings.length;
  const chosen: number[] = [];
  const parts = cores.filter((core) => !isWhole(core));
  for (const core of cores.filter(isWhole)) {
    if (chosen.length + core.length <= count) chosen.push(...core.map(({ cpu }) => cpu));
    else parts.push(core);
  }
  const rest = parts.flat().map(({ cpu }) => cpu);
  const left = count - chosen.length;
  if (left > 0 && wholeOnly) return null;
  return [...chosen, ...rest.slice(0, left)];
};
