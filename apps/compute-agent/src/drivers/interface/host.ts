import type { HostHealth } from '@omnivisor/contracts';

/** What a backend is, as far as it tells without running a guest. */
export interface Survey {
  /** Product and version as the backend reports them, e.g. `QEMU 7.2.22`. */
  readonly version: string | null;
  /** Nova's `hypervisor_type` and `hypervisor_version` (major * 1,000,000 + minor * 1,000 + patch). */
  readonly hypervisorType: string;
  readonly hypervisorVersion: number;
  /** os-traits names and `CUSTOM_…`: what the CPU and the backend offer. Traits of optional members are added by the agent. */
  readonly traits: readonly string[];
  /** Nova's `cpu_info`. */
  readonly cpuInfo: Readonly<Record<string, unknown>>;
}

/** What a backend says of itself after it tried to run a guest. */
export interface ProbeReport extends Survey {
  /** `undetected`: not this kind of host. `unhealthy`: it is, but a guest cannot run on it now. */
  readonly health: HostHealth;
  /** One sentence for the operator: what was tried and what came back. */
  readonly reason: string;
  /** Of an unhealthy host: its operators keep guests away from it. Those that are there go on, and are looked after. */
  readonly inMaintenance?: boolean;
}

/** What a host has, used or not. */
export interface HostInventory {
  readonly vcpus: number;
  /** Processors for servers that have CPUs of their own, beside those of `vcpus`; absent when there are none. */
  readonly dedicatedCpus?: number;
  readonly memoryMib: number;
  readonly diskGib: number;
}

/** The host's own way to empty itself: guests move to other members of its pool or cluster, and stay ours. */
export interface Maintenance {
  /**
   * Resolves when no guest is left, also where that was so; the host takes none until `leave`. Aborted, it settles when
   * nothing of it is under way any more. When it rejects, only `leave` has the host take guests again.
   */
  enter(signal: AbortSignal): Promise<void>;
  /** Resolves when the host takes guests, and no `enter` is under way there, also one that was asked for by others. */
  leave(): Promise<void>;
}
