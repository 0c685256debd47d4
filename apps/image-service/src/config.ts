import { readFileSync } from 'node:fs';
import { count, encrypted, httpUrl, natsSettings, port, profile, secret } from '@omnivisor/platform';
import { z } from 'zod';

/** The image service's environment. */
const settings = z.object({
  OMNIVISOR_PROFILE: profile,
  ...natsSettings,
  /** File with the service's NATS credentials; none for a server that asks for none. */
  OMNIVISOR_NATS_CREDS: z.string().optional(),
  /** Login of the service's PostgreSQL role. */
  OMNIVISOR_DATABASE_URL: secret(z.string()),
  OMNIVISOR_DATABASE_SCHEMA: z.string().default('image'),
  OMNIVISOR_LISTEN: z.string().default('127.0.0.1'),
  OMNIVISOR_PORT: port.default(9292),
  /** Health and metrics, which are not for clients. */
  OMNIVISOR_HEALTH_LISTEN: z.string().default('127.0.0.1'),
  OMNIVISOR_HEALTH_PORT: port.default(0),
  /** How long requests are still answered after a signal to stop, so that those in front notice: seconds. */
  OMNIVISOR_DRAIN_SECONDS: count.default(0),
  /** The root all services share as clients see it. */
  OMNIVISOR_PUBLIC_URL: httpUrl.optional(),
  /** Addresses and networks of proxies whose forwarding headers are believed, separated by commas. */
  OMNIVISOR_TRUSTED_PROXIES: z.string().default(''),
  /** Where compute agents reach this service. */
  OMNIVISOR_IMAGE_URL: z.url(),
  /** Folder of the image bytes; all replicas share it. */
  OMNIVISOR_IMAGE_DIR: z.string(),
  /** File with the key that signs byte URLs, at least 32 bytes; the same in all replicas. */
  OMNIVISOR_IMAGE_HMAC_KEY_FILE: z.string(),
  /** The largest image in bytes; 1 TiB when not given. */
  OMNIVISOR_IMAGE_MAX_BYTES: count.default(1024 ** 4),
  /** Uploads and imports at one time in one process, at most a half of them of one project. */
  OMNIVISOR_IMAGE_MAX_UPLOADS: count.default(16),
  /** Uploads that a project begins, and lists that it asks for, in a minute; 0 for any number. */
  OMNIVISOR_LIMIT_UPLOADS: count.default(600),
  OMNIVISOR_LIMIT_LISTS: count.default(60_000),
  /** Seconds an upload may stand still. */
  OMNIVISOR_IMAGE_IDLE_SECONDS: count.default(60),
  /** Bytes a second below which an upload or import is given up; 0 for none. */
  OMNIVISOR_IMAGE_MIN_RATE: count.default(16 * 1024),
  /** Conversions at one time in one process, besides one for hosts, which go first. */
  OMNIVISOR_IMAGE_CONVERSIONS: count.default(1),
  /** Bytes of derived forms of images that are kept; 100 GiB when not given. */
  OMNIVISOR_IMAGE_FORMS_BYTES: count.default(100 * 1024 ** 3),
  /** Days after which an unused derived form goes. */
  OMNIVISOR_IMAGE_FORMS_DAYS: count.default(7),
  /** Ports that imports may ask, separated by commas. */
  OMNIVISOR_IMPORT_PORTS: z
    .string()
    .regex(/^\d{1,5}(,\d{1,5})*$/)
    .default('80,443'),
  /** Networks (CIDR) that imports may ask although they are not public, separated by commas. */
  OMNIVISOR_IMPORT_NETWORKS: z
    .string()
    .regex(/^([0-9a-fA-F.:]+\/\d{1,3}(,|$))*$/)
    .default(''),
  OMNIVISOR_LOG_LEVEL: z.string().default('info'),
});
export const imageServiceConfig = encrypted(settings);
export type ImageServiceConfig = z.output<typeof imageServiceConfig>;

/** @throws Error for a key that is too short, without the key */
export const readSigningKey = (path: string): Buffer => {
  const key = readFileSync(path);
  if (key.length < 32) throw new Error(`${path}: the key has fewer than 32 bytes`);
  return key;
};
