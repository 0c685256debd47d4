import { readFileSync } from 'node:fs';
import { count, encrypted, flag, httpUrl, natsSettings, port, profile, secret } from '@omnivisor/platform';
import { z } from 'zod';

const list = z
  .string()
  .default('')
  .transform((text) => text.split(',').filter((entry) => entry !== ''));

/** Environment of the API gateway. */
const settings = z.object({
  OMNIVISOR_PROFILE: profile,
  OMNIVISOR_CLOUD_ID: z.string().regex(/^[^\s+]+$/),
  ...natsSettings,
  /** File with the service's NATS credentials; none for a server that asks for none. */
  OMNIVISOR_NATS_CREDS: z.string().optional(),
  /** Login of the service's PostgreSQL role. */
  OMNIVISOR_DATABASE_URL: secret(z.string()),
  OMNIVISOR_DATABASE_SCHEMA: z.string().default('gateway'),
  OMNIVISOR_LISTEN: z.string().default('127.0.0.1'),
  OMNIVISOR_PORT: port.default(8774),
  /** Health and metrics, which are not for clients. */
  OMNIVISOR_HEALTH_LISTEN: z.string().default('127.0.0.1'),
  OMNIVISOR_HEALTH_PORT: port.default(0),
  /** How long requests are still answered after a signal to stop, so that those in front notice: seconds. */
  OMNIVISOR_DRAIN_SECONDS: count.default(0),
  /** The root all services share as clients see it; taken from the request when not given. */
  OMNIVISOR_PUBLIC_URL: httpUrl.optional(),
  /** Addresses and networks of proxies whose forwarding headers are believed. */
  OMNIVISOR_TRUSTED_PROXIES: list,
  OMNIVISOR_IMAGE_URL: z.url(),
  OMNIVISOR_PLACEMENT_URL: z.url(),
  /** File with the keys that close the vault, the newest first. */
  OMNIVISOR_MASTER_KEY_FILE: z.string(),
  /** File with the first administrator's password; read only while the cloud has none. */
  OMNIVISOR_ADMIN_PASSWORD_FILE: z.string().optional(),
  OMNIVISOR_REGION: z.string().default('RegionOne'),
  OMNIVISOR_TOKEN_SECONDS: count.default(3_600),
  /** `ws://` root under which compute hosts reach this very replica; its own address when not given. */
  OMNIVISOR_AGENT_URL: z.string().optional(),
  /** Publishes the log to a JetStream stream, for the world outside. */
  OMNIVISOR_RELAY: flag.default(true),
  OMNIVISOR_RELAY_STREAM: z.string().default('OMNIVISOR_EVENTS'),
  /** Days and MiB after which these streams forget; the log does not. */
  OMNIVISOR_RELAY_DAYS: count.default(7),
  OMNIVISOR_RELAY_MIB: count.default(1_024),
  /** Publishes the log as CADF to a JetStream stream, for auditors on the bus. */
  OMNIVISOR_CADF: flag.default(false),
  OMNIVISOR_CADF_STREAM: z.string().default('OMNIVISOR_CADF'),
  /** Publishes Nova's versioned notifications to a JetStream stream. */
  OMNIVISOR_NOTIFICATIONS: flag.default(false),
  OMNIVISOR_NOTIFICATIONS_STREAM: z.string().default('OMNIVISOR_NOTIFICATIONS'),
  /** Days after which a new key signs the checkpoints of the log. */
  OMNIVISOR_SEALING_KEY_DAYS: count.default(90),
  /** Folder that checkpoints are written to; best on another machine's disk. */
  OMNIVISOR_CHECKPOINT_DIR: z.string().optional(),
  /** S3-compatible bucket, with a prefix when wanted, that checkpoints are written to. */
  OMNIVISOR_CHECKPOINT_BUCKET_URL: z.url().optional(),
  OMNIVISOR_CHECKPOINT_BUCKET_REGION: z.string().default('us-east-1'),
  /** File with the access key id and the secret of the bucket, a line each. */
  OMNIVISOR_CHECKPOINT_BUCKET_KEY_FILE: z.string().optional(),
  /** Days for which an object cannot be removed; 0 for a bucket without object lock. */
  OMNIVISOR_CHECKPOINT_RETENTION_DAYS: z.coerce.number().int().nonnegative().default(365),
  /** Times as long as usual that hosts may take until what they were asked counts as failed. */
  OMNIVISOR_PATIENCE: z.coerce.number().min(1).default(1),
  /** Origins that browsers may open consoles from. */
  OMNIVISOR_CONSOLE_ORIGINS: list,
  /** Logins, requests with wrong tokens, uploads and lists in a minute, by source; lists also by project; 0 for any number. */
  OMNIVISOR_LIMIT_LOGINS: count.default(1_200),
  OMNIVISOR_LIMIT_WRONG_TOKENS: count.default(6_000),
  OMNIVISOR_LIMIT_UPLOADS: count.default(600),
  OMNIVISOR_LIMIT_LISTS: count.default(60_000),
  /** Folder of policy files, `<service>.yaml` each; OpenStack's default rules hold where they say nothing. */
  OMNIVISOR_POLICY_DIR: z.string().optional(),
  OMNIVISOR_LOG_LEVEL: z.string().default('info'),
});
export const GatewayConfig = encrypted(settings);
export type GatewayConfig = z.output<typeof GatewayConfig>;

/** The first line of a secret's file. */
export const readSecret = (path: string): string => readFileSync(path, 'utf8').trim();
