import { z } from 'zod';

/**
 * What an operator can tune of placement. Multipliers have Nova's names; while all are null the default rule holds:
 * best fit on VCPU with memory as the tie-break.
 */
export const SchedulerSettings = z.object({
  /** Goes into each decision; raise it with each change. */
  version: z.number().int().default(1),
  cpuWeightMultiplier: z.number().nullable().default(null),
  ramWeightMultiplier: z.number().nullable().default(null),
  diskWeightMultiplier: z.number().nullable().default(null),
  cpuAllocationRatio: z.number().positive().default(4),
  ramAllocationRatio: z.number().positive().default(1),
  diskAllocationRatio: z.number().positive().default(1),
  /** Kept for the host itself, at most a tenth of what it has. */
  reservedHostMemoryMib: z.number().int().nonnegative().default(512),
  /** Up to this many hosts every decision counts all of them; beyond, a granted one counts what it looked at. */
  exactHosts: z.number().int().default(2_000),
});
export type SchedulerSettings = z.infer<typeof SchedulerSettings>;
export const defaultSettings: SchedulerSettings = SchedulerSettings.parse({});
