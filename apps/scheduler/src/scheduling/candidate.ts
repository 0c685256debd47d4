import type {
  HostId,
  Inventory,
  ProviderId,
  ReserveRequest,
  ResourceAmounts,
  ServerGroupPolicy,
} from '@omnivisor/contracts';

/** What many hosts have in common: decided once for all of them. */
export interface HostClass {
  readonly availabilityZone: string;
  readonly traits: ReadonlySet<string>;
  /** Its traits say what it offers of networks. */
  readonly tellsNetworks: boolean;
  /** Some of its traits say which disk formats it takes. */
  readonly tellsFormats: boolean;
  /** Nova's `hypervisor_type`, e.g. `QEMU`. */
  readonly hypervisorType: string;
  /** Nova's `hypervisor_version`. */
  readonly hypervisorVersion: number;
  readonly architecture: string | null;
  readonly up: boolean;
  readonly enabled: boolean;
  readonly healthy: boolean;
  /** For people: availability zone and hypervisor. */
  readonly label: string;
}

/** One host as placement sees it. */
export interface Candidate {
  readonly hostId: HostId;
  readonly providerId: ProviderId;
  readonly name: string;
  readonly node: string;
  readonly machineId: string;
  readonly hostClass: HostClass;
  readonly inventories: Readonly<Record<string, Inventory>>;
  readonly freeVcpus: number;
  readonly freeMemory: number;
  /** Claimed by the log and by decisions on their way to it. */
  used(resource: string): number;
}

/** What a flavor and an image ask of a host, worked out once. */
export interface GuestWants {
  /** The properties of its image are canonical. */
  readonly request: Pick<ReserveRequest, 'flavor' | 'image'>;
  /** What becomes of a server that is there already; absent for a new one. */
  readonly use?: 'rebuild' | 'rescue' | 'move';
  /** VCPU, MEMORY_MB, DISK_GB first; no zero amounts. */
  readonly resources: ResourceAmounts;
  readonly requiredTraits: readonly string[];
  readonly forbiddenTraits: readonly string[];
  /** Image properties and extra specs that a host serves or does not, with the traits of those that do. */
  readonly wishes: readonly { readonly key: string; readonly value: string; readonly trait: string }[];
}

/** A request for a place, with its wants worked out once. */
export interface Wanted extends GuestWants {
  readonly request: Omit<ReserveRequest, 'context'>;
  /** Hosts of the servers that the hints name. */
  readonly differentHosts: ReadonlySet<string>;
  readonly sameHosts: ReadonlySet<string> | null;
  /** Machines that its networks are on. */
  readonly machines: readonly string[];
  /** The group it belongs to, and how many other members each host has. */
  readonly group: {
    readonly policy: ServerGroupPolicy;
    readonly maxPerHost: number;
    readonly membersOn: ReadonlyMap<string, number>;
  } | null;
}

/** Why a host cannot take it. */
export interface Refusal {
  readonly constraint: string;
  readonly wanted: string;
  readonly had: string;
  /** The best of several refusals of one constraint is the one with the greatest rank. */
  readonly rank: number;
}

/** Holds or fails for a whole class of hosts. Pure. */
export interface ClassFilter {
  readonly name: string;
  check(wanted: Wanted, hostClass: HostClass): Refusal | null;
}

/** A class filter that looks at nothing but flavor and image. */
export interface GuestFilter {
  readonly name: string;
  check(wants: GuestWants, hostClass: HostClass): Refusal | null;
}

/** Holds or fails for one host. Pure. */
export interface HostFilter {
  readonly name: string;
  /** False when the request has nothing that it would look at: it lets every host pass then. */
  concerns(wanted: Wanted): boolean;
  check(wanted: Wanted, host: Candidate): Refusal | null;
}

export const refusal = (constraint: string, wanted: string, had: string, rank = 0): Refusal => ({
  constraint,
  wanted,
  had,
  rank,
});
