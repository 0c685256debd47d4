import { readFileSync } from 'node:fs';
import type { ConnectionOptions } from '@nats-io/transport-node';
import { z } from 'zod';

/** How every client of NATS finds its server, and knows it for the right one. */
export const natsSettings = {
  /** One or more, separated by commas; `tls://` for a connection that is encrypted or none. */
  OMNIVISOR_NATS_URL: z.string(),
  /** Authorities (PEM) that sign the certificates of servers; the system's when not given. With it nothing goes unencrypted. */
  OMNIVISOR_NATS_CA_FILE: z.string().optional(),
  /** Certificate and key (PEM) for a server that asks its clients for one. */
  OMNIVISOR_NATS_CERT_FILE: z.string().optional(),
  OMNIVISOR_NATS_KEY_FILE: z.string().optional(),
};
const NatsSettings = z.object(natsSettings);
export type NatsSettings = z.output<typeof NatsSettings>;

/** Where and how to connect; the names in a server's certificate must have the one it was asked by. */
export type NatsServers = Pick<ConnectionOptions, 'servers' | 'tls'>;

/** @throws Error as `readFileSync` does, with the path */
export const natsServers = (settings: NatsSettings): NatsServers => {
  const servers = settings.OMNIVISOR_NATS_URL.split(',').map((server) => server.trim());
  const { OMNIVISOR_NATS_CA_FILE: ca, OMNIVISOR_NATS_CERT_FILE: cert, OMNIVISOR_NATS_KEY_FILE: key } = settings;
  const isEncrypted = [ca, cert, key].some((file) => file !== undefined) || servers.some(isTls);
  if (!isEncrypted) return { servers };
  const text = (file: string) => readFileSync(file, 'utf8');
  return {
    servers,
    tls: {
      ...(ca === undefined ? {} : { ca: text(ca) }),
      ...(cert === undefined ? {} : { cert: text(cert) }),
      ...(key === undefined ? {} : { key: text(key) }),
    },
  };
};

export const isTls = (server: string): boolean => /^tls:/i.test(server);

/** The same out of an environment, for programs without a configuration of their own. */
export const natsServersOf = (env: Readonly<Record<string, string | undefined>>): NatsServers =>
  natsServers(NatsSettings.parse(Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ''))));
