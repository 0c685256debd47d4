import { count, encrypted, httpUrl, natsSettings, port, profile, secret } from '@omnivisor/platform';
import { z } from 'zod';

const ratio = z.coerce.number().positive();
const multiplier = z.coerce.number().optional();

/** Environment of the scheduler. */
const settings = z.object({
  OMNIVISOR_PROFILE: profile,
  ...natsSettings,
  /** File with the service's NATS credentials; without it the server must want none. */
  OMNIVISOR_NATS_CREDS: z.string().optional(),
  /** Seed of the NATS account, to sign the claims of newly enrolled hosts. */
  OMNIVISOR_NATS_ACCOUNT_SEED_FILE: z.string().optional(),
  /** Operator and system account of NATS, to revoke the keys of retired hosts: the JSON of a `RevokingAuthority`. */
  OMNIVISOR_NATS_REVOKER_FILE: z.string().optional(),
  OMNIVISOR_DATABASE_URL: secret(z.string()),
  OMNIVISOR_DATABASE_SCHEMA: z.string().default('scheduler'),
  OMNIVISOR_CLOUD_ID: z.string().min(1),
  OMNIVISOR_LISTEN: z.string().default('127.0.0.1'),
  OMNIVISOR_PORT: port.default(8778),
  /** Health and metrics, which are not for clients. */
  OMNIVISOR_HEALTH_LISTEN: z.string().default('127.0.0.1'),
  OMNIVISOR_HEALTH_PORT: port.default(0),
  /** How long requests are still answered after a signal to stop, so that those in front notice: seconds. */
  OMNIVISOR_DRAIN_SECONDS: count.default(0),
  OMNIVISOR_PUBLIC_URL: httpUrl.optional(),
  OMNIVISOR_LOG_LEVEL: z.string().default('info'),
  /** Raise it with each change of the settings below: decisions name it. */
  OMNIVISOR_SCHEDULER_SETTINGS_VERSION: count.default(1),
  /** Nova's weight multipliers; unset means best fit. */
  OMNIVISOR_CPU_WEIGHT_MULTIPLIER: multiplier,
  OMNIVISOR_RAM_WEIGHT_MULTIPLIER: multiplier,
  OMNIVISOR_DISK_WEIGHT_MULTIPLIER: multiplier,
  OMNIVISOR_CPU_ALLOCATION_RATIO: ratio.default(4),
  OMNIVISOR_RAM_ALLOCATION_RATIO: ratio.default(1),
  OMNIVISOR_DISK_ALLOCATION_RATIO: ratio.default(1),
  OMNIVISOR_RESERVED_HOST_MEMORY_MB: count.default(512),
});
export const SchedulerConfig = encrypted(settings);
export type SchedulerConfig = z.output<typeof SchedulerConfig>;
