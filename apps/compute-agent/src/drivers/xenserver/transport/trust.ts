import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';

/** Whom the driver believes to be a member of the pool. */
export type Trust =
  /** Certificates signed by these authorities (PEM), or by the system's when null. Self-signed ones may be given too. */
  | { readonly kind: 'authorities'; readonly pem: string | null }
  /** These certificates and no other: SHA-256 in hexadecimal, with or without colons. */
  | { readonly kind: 'pinned'; readonly fingerprints: readonly string[] };

export interface Endpoint {
  readonly secure: boolean;
  readonly host: string;
  readonly port: number;
}

const plain = (fingerprint: string): string => fingerprint.replaceAll(':', '').toLowerCase();

/**
 * A connection to a member that has shown who it is.
 * @throws Error when it does not answer in `timeout` milliseconds, or its certificate is not one to trust
 */
export const openSocket = async ({ secure, host, port }: Endpoint, trust: Trust, timeout: number): Promise<Socket> => {
  const socket = secure ? openTls(host, port, trust) : connectTcp({ host, port });
  socket.setTimeout(timeout, () => socket.destroy(new Error(`no connection to ${host} in ${timeout} ms`)));
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject);
    socket.once(secure ? 'secureConnect' : 'connect', () => {
      socket.off('error', reject);
      resolve();
    });
  });
  socket.setTimeout(0);
  if (secure && trust.kind === 'pinned') assertPinned(socket as TLSSocket, trust.fingerprints);
  return socket;
};

const openTls = (host: string, port: number, trust: Trust): TLSSocket =>
  connectTls({
    host,
    port,
    ...(trust.kind === 'pinned'
      ? { rejectUnauthorized: false }
      : { rejectUnauthorized: true, ...(trust.pem === null ? {} : { ca: trust.pem }) }),
  });

const assertPinned = (socket: TLSSocket, fingerprints: readonly string[]): void => {
  const shown = plain(socket.getPeerCertificate().fingerprint256 ?? '');
  if (fingerprints.some((fingerprint) => plain(fingerprint) === shown)) return;
  socket.destroy();
  throw new Error(`the certificate with SHA-256 ${shown} is not one of those that are pinned`);
};
