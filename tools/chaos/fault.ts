import type { ChaosCloud } from './chaos-cloud.js';

/** Something that goes wrong, and is mended. */
export interface Fault {
  readonly name: string;
  /** Whether it lasts until it is mended; else it is over as soon as it has happened. */
  readonly lasts: boolean;
  /** Nobody may notice: no request may be refused, or have no answer. */
  readonly unnoticed?: boolean;
  /** It mounts file systems, or makes a network: for root only. */
  readonly privileged?: boolean;
  /** Before the load. @returns what takes it back, after the load */
  prepare?(chaos: ChaosCloud): Promise<() => Promise<void>>;
  /** @returns what mends it */
  inflict(chaos: ChaosCloud): Promise<() => Promise<void>>;
}
