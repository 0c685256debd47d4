/** What a server wants of its host's processors. */
export interface CpuPolicy {
  /**
   * - `shared`: vCPUs run where there is room, resource class VCPU
   * - `dedicated`: each has a processor of its own, PCPU
   * - `mixed`: some have
   */
  readonly policy: 'shared' | 'dedicated' | 'mixed';
  /** Of dedicated ones: whether they may be, have to be, or must not be threads of one core. */
  readonly threads: 'prefer' | 'require' | 'isolate';
  /** Why flavor and image cannot both be served; null when they can. */
  readonly conflict: string | null;
}

const POLICIES = ['shared', 'dedicated', 'mixed'] as const;
const THREADS = ['prefer', 'require', 'isolate'] as const;

interface Flavor {
  readonly vcpus: number;
  readonly extraSpecs: Readonly<Record<string, string>>;
}

interface Image {
  readonly properties: Readonly<Record<string, string>>;
}

/** As Nova reads `hw:cpu_policy`, `hw:cpu_thread_policy`, `resources:PCPU` and their like; source: nova.virt.hardware, 2026. */
export const cpuPolicyOf = ({ vcpus, extraSpecs }: Flavor, { properties }: Image): CpuPolicy => {
  const conflicts: string[] = [];
  const oneOf = <T extends string>(name: string, value: string | undefined, known: readonly T[]): T | undefined => {
    const found = known.find((word) => word === value);
    if (value !== undefined && found === undefined) conflicts.push(`${name} cannot be '${value}'.`);
    return found;
  };
  const bought = oneOf('hw:cpu_policy', extraSpecs['hw:cpu_policy'], POLICIES);
  const wished = oneOf('hw_cpu_policy', properties.hw_cpu_policy, POLICIES);
  const amount = (name: string) => Number(extraSpecs[`resources:${name}`] ?? 0);
  const [own, common] = [amount('PCPU'), amount('VCPU')];

  let policy: CpuPolicy['policy'] = bought ?? wished ?? 'shared';
  if (
    wished !== undefined &&
    wished !== 'shared' &&
    bought !== undefined &&
    bought !== 'dedicated' &&
    wished !== bought
  )
    conflicts.push(
      "Image property 'hw_cpu_policy' is not permitted to override CPU pinning policy set against the flavor",
    );
  if (own > 0) {
    if (bought !== undefined || common > 0)
      conflicts.push('The flavor has resources:PCPU beside resources:VCPU or hw:cpu_policy.');
    else if (own !== vcpus) conflicts.push(`The flavor has ${vcpus} vCPUs, and resources:PCPU is ${own}.`);
    policy = 'dedicated';
  } else if (common > 0 && policy !== 'shared')
    conflicts.push('The flavor or the image wants dedicated CPUs, and the flavor has resources:VCPU.');

  const boughtThreads = oneOf('hw:cpu_thread_policy', extraSpecs['hw:cpu_thread_policy'], THREADS);
  const wishedThreads = oneOf('hw_cpu_thread_policy', properties.hw_cpu_thread_policy, THREADS);
  const isOpen = boughtThreads === undefined || boughtThreads === 'prefer';
  if (!isOpen && wishedThreads !== undefined && wishedThreads !== boughtThreads)
    conflicts.push(
      "Image property 'hw_cpu_thread_policy' is not permitted to override CPU thread pinning policy set against the flavor",
    );
  if ((boughtThreads ?? wishedThreads) !== undefined && policy === 'shared')
    conflicts.push('Cannot set cpu thread pinning policy in a non dedicated cpu pinning policy');
  const threads = (isOpen ? wishedThreads : undefined) ?? boughtThreads ?? 'prefer';
  return { policy, threads, conflict: conflicts[0] ?? null };
};
