import { z } from 'zod';
import { MiB } from '../units.js';

/** Beyond what a number holds exactly, too: nanoseconds of CPU are that after 104 days. */
const counter = z
  .number()
  .nonnegative()
  .max(2 ** 63);
const rate = counter.nullable();
const name = z.string().max(255);

/** Null where the hypervisor counts bytes only. */
export const TrafficCounters = z.object({
  bytes: counter,
  packets: counter.nullable(),
  errors: counter.nullable(),
  drops: counter.nullable(),
});
export type TrafficCounters = z.infer<typeof TrafficCounters>;

/** Counters of a guest since its power came on; null where its hypervisor does not tell. */
export const GuestStatistics = z.object({
  /** Seconds. */
  uptime: counter.nullable(),
  /** One for each vCPU: nanoseconds of CPU, and percent of late where the hypervisor measures it. */
  cpus: z
    .array(z.object({ time: counter.nullable(), utilisation: rate.optional() }))
    .max(4_096)
    .readonly(),
  /** `used` is what the guest has taken of it. */
  memory: z.object({ maximum: MiB, used: MiB.nullable() }),
  nics: z
    .array(
      z.object({
        portId: name,
        mac: name,
        /** As the guest sees it: received is what came to the guest. */
        received: TrafficCounters.nullable(),
        sent: TrafficCounters.nullable(),
        /** Bytes a second, of late, where the hypervisor measures it. */
        receivedRate: rate.optional(),
        sentRate: rate.optional(),
      }),
    )
    .max(1_024)
    .readonly(),
  disks: z
    .array(
      z.object({
        /** `root`, `ephemeral`, `swap`, `config`, or the id of an attached disk. */
        disk: name,
        readBytes: counter.nullable(),
        readRequests: counter.nullable(),
        writeBytes: counter.nullable(),
        writeRequests: counter.nullable(),
        errors: counter.nullable(),
      }),
    )
    .max(1_024)
    .readonly(),
});
export type GuestStatistics = z.infer<typeof GuestStatistics>;
