import type { HostId, ResourceAmounts } from '@omnivisor/contracts';
import type { Candidate, HostClass } from '../candidate.js';
import { type Host, isHealthy } from '../host/host.js';
import type { Provider } from '../provider/provider.js';
import { freeOf } from '../weighers/best-fit.js';

const TOP_BUCKET = 4_095;

/** Hosts of one class, in lists by free VCPU: a search begins where the first host may fit. */
export class ClassBuckets {
  size = 0;
  private readonly buckets: (Set<Slot> | undefined)[] = [];

  constructor(readonly hostClass: HostClass) {}

  add(slot: Slot): void {
    const at = bucketOf(slot);
    let bucket = this.buckets[at];
    if (!bucket) this.buckets[at] = bucket = new Set();
    bucket.add(slot);
    this.size++;
  }

  remove(slot: Slot): void {
    if (this.buckets[bucketOf(slot)]?.delete(slot)) this.size--;
  }

  /** How many hosts have less than `vcpus` free, and the most that any of them has. */
  below(vcpus: number): { hosts: number; best: number } {
    let hosts = 0;
    let best = 0;
    const end = Math.min(vcpus, TOP_BUCKET, this.buckets.length);
    for (let i = 0; i < end; i++) {
      const size = this.buckets[i]?.size ?? 0;
      if (size === 0) continue;
      hosts += size;
      best = i;
    }
    return { hosts, best };
  }

  *mostFreeFirst(): Iterable<Candidate> {
    for (let i = this.buckets.length - 1; i >= 0; i--) {
      const bucket = this.buckets[i];
      if (bucket) yield* bucket;
    }
  }

  /** Hosts with at least `vcpus` free, fewest first. */
  *from(vcpus: number): Iterable<Candidate> {
    for (let i = Math.min(vcpus, TOP_BUCKET); i < this.buckets.length; i++) {
      const bucket = this.buckets[i];
      if (bucket) yield* bucket;
    }
  }
}

class Slot implements Candidate {
  freeVcpus = 0;
  freeMemory = 0;
  readonly held = new Map<string, ResourceAmounts>();

  constructor(
    public host: Host,
    public provider: Provider,
    public hostClass: HostClass,
  ) {}

  get hostId() {
    return this.host.id!;
  }
  get providerId() {
    return this.provider.id!;
  }
  get name() {
    return this.host.name;
  }
  get node() {
    return this.host.facts?.node ?? this.provider.name;
  }
  get machineId() {
    return this.host.facts?.machineId ?? '';
  }
  get inventories() {
    return this.provider.inventories;
  }
  used(resource: string): number {
    let sum = this.provider.used[resource] ?? 0;
    if (this.held.size === 0) return sum;
    for (const amounts of this.held.values()) sum += amounts[resource] ?? 0;
    return sum;
  }
}

/** Order of an index: among equals, who comes first is looked at first. */
export interface IndexOrder {
  /** Ids of hosts, as they came. */
  readonly hosts: readonly string[];
  /** Classes by their keys, as they came. */
  readonly classes: readonly string[];
  /** Ids of hosts, each before those that come after it in its bucket. */
  readonly buckets: readonly string[];
}

const bucketOf = (slot: Slot): number => Math.min(TOP_BUCKET, slot.freeVcpus);

/** Every host that may get servers, by class and free VCPU. A fold of the log plus the decisions on their way to it. */
export class PlacementIndex {
  private readonly slots = new Map<string, Slot>();
  private readonly classes = new Map<string, HostClass>();
  private readonly buckets = new Map<HostClass, ClassBuckets>();

  get size(): number {
    return this.slots.size;
  }

  *hosts(): Iterable<Candidate> {
    yield* this.slots.values();
  }

  *byClass(): Iterable<ClassBuckets> {
    for (const buckets of this.buckets.values()) if (buckets.size > 0) yield buckets;
  }

  get(hostId: string): Candidate | undefined {
    return this.slots.get(hostId);
  }

  get order(): IndexOrder {
    const buckets: string[] = [];
    for (const inClass of this.buckets.values()) for (const slot of inClass.from(0)) buckets.push(slot.hostId);
    return { hosts: [...this.slots.keys()], classes: [...this.classes.keys()], buckets };
  }

  /** Fills an empty index. */
  restore({ hosts, classes, buckets }: IndexOrder, put: (hostId: string) => void): void {
    for (const key of classes) this.classOf(JSON.parse(key) as ClassKey);
    for (const hostId of hosts) put(hostId);
    for (const hostId of buckets) this.move(this.slots.get(hostId)!);
  }

  /** A host as it stands now; a retired one leaves, and one without provider has not come yet. */
  put(host: Host, provider: Provider | undefined): void {
    const known = this.slots.get(host.id!);
    if (known) this.bucketsOf(known)?.remove(known);
    if (host.retired || !provider?.exists || host.facts === null) {
      this.slots.delete(host.id!);
      return;
    }
    const isSame = known?.host === host && known.provider.traits === provider.traits;
    const hostClass = isSame ? known.hostClass : this.classOf(classKeyOf(host, provider));
    const slot = known ?? new Slot(host, provider, hostClass);
    slot.host = host;
    slot.provider = provider;
    slot.hostClass = hostClass;
    this.slots.set(host.id!, slot);
    this.place(slot);
  }

  /** Takes amounts for a decision whose event is not in the log yet. */
  hold(hostId: HostId, key: string, resources: ResourceAmounts): void {
    const slot = this.slots.get(hostId);
    if (!slot) return;
    slot.held.set(key, resources);
    this.move(slot);
  }

  unhold(hostId: string, key: string): void {
    const slot = this.slots.get(hostId);
    if (slot?.held.delete(key)) this.move(slot);
  }

  private move(slot: Slot): void {
    this.bucketsOf(slot)!.remove(slot);
    this.place(slot);
  }

  /** What is free is worked out when it changes: a decision compares many hosts by it. */
  private place(slot: Slot): void {
    slot.freeVcpus = freeOf(slot, 'VCPU');
    slot.freeMemory = freeOf(slot, 'MEMORY_MB');
    this.bucketsOf(slot)!.add(slot);
  }

  private bucketsOf({ hostClass }: Slot): ClassBuckets | undefined {
    return this.buckets.get(hostClass);
  }

  private classOf(parts: ClassKey): HostClass {
    const key = JSON.stringify(parts);
    const known = this.classes.get(key);
    if (known) return known;
    const hostClass = hostClassOf(parts);
    this.classes.set(key, hostClass);
    this.buckets.set(hostClass, new ClassBuckets(hostClass));
    return hostClass;
  }
}

/** All that makes the class of a host. */
type ClassKey = readonly [
  availabilityZone: string,
  hypervisorType: string,
  hypervisorVersion: number,
  architecture: string | null,
  up: boolean,
  enabled: boolean,
  healthy: boolean,
  tellsNetworks: boolean,
  traits: readonly string[],
];

const classKeyOf = (host: Host, { traits }: Provider): ClassKey => {
  const { hypervisorType, hypervisorVersion, cpuInfo, physicalNetworks } = host.facts!;
  const architecture = typeof cpuInfo.arch === 'string' ? cpuInfo.arch.toLowerCase() : null;
  const { up, enabled, availabilityZone } = host;
  const tellsNetworks = physicalNetworks !== undefined;
  return [
    ...([availabilityZone, hypervisorType, hypervisorVersion, architecture] as const),
    ...([up, enabled, isHealthy(host), tellsNetworks, traits] as const),
  ];
};

const hostClassOf = (key: ClassKey): HostClass => {
  const [availabilityZone, hypervisorType, hypervisorVersion, architecture] = key;
  const [, , , , up, enabled, healthy, tellsNetworks, traits] = key;
  return {
    availabilityZone,
    hypervisorType,
    hypervisorVersion,
    architecture,
    up,
    enabled,
    healthy,
    traits: new Set(traits),
    tellsNetworks,
    tellsFormats: traits.some((t) => t.startsWith('COMPUTE_IMAGE_TYPE_')),
    label: `${hypervisorType} in ${availabilityZone}`,
  };
};
