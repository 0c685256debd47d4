import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';

/** Whom a driver believes to be its endpoint. */
export type Trust =
  /** Certificates signed by these authorities (PEM), or by the system's when null. Self-signed ones may be given too. */
  | { readonly kind: 'authorities'; readonly pem: string | null }
  /** These certificates and no other: SHA-256 or SHA-1 in hexadecimal, with or without colons. */
  | { readonly kind: 'pinned'; readonly fingerprints: readonly string[] };

export interface Endpoint {
  readonly secure: boolean;
  readonly host: string;
  readonly port: number;
}

/** Nobody answered, or not somebody to trust. */
export class NoConnection extends Error {
  override readonly name = 'NoConnection';
}

const plain = (fingerprint: string): string => fingerprint.replaceAll(':', '').toLowerCase();

/**
 * A connection to an endpoint that has shown who it is: nothing is sent before.
 * @throws NoConnection when it does not answer in `timeout` milliseconds, or its certificate is not one to trust
 */
export const openTrustedSocket = async (
  { secure, host, port }: Endpoint,
  trust: Trust,
  timeout: number,
): Promise<Socket> => {
  const socket = secure ? openTls(host, port, trust) : connectTcp({ host, port });
  try {
    await new Promise<void>((resolve, reject) => {
      socket.setTimeout(timeout, () => reject(new Error(`no connection in ${timeout} ms`)));
      socket.once('error', reject);
      socket.once(secure ? 'secureConnect' : 'connect', () => {
        socket.off('error', reject);
        resolve();
      });
    });
    socket.setTimeout(0);
    if (secure && trust.kind === 'pinned') assertPinned(socket as TLSSocket, trust.fingerprints);
    return socket;
  } catch (error) {
    socket.on('error', () => undefined).destroy();
    throw error instanceof NoConnection ? error : new NoConnection((error as Error).message, { cause: error });
  }
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
  const { fingerprint256 = '', fingerprint = '' } = socket.getPeerCertificate();
  const shown = [plain(fingerprint256), plain(fingerprint)];
  if (!fingerprints.some((pinned) => pinned !== '' && shown.includes(plain(pinned))))
    throw new NoConnection(`the certificate with SHA-256 ${shown[0]} is not one of those that are pinned`);
};
