import { createHash } from 'node:crypto';
import { DomainError, notFound, type VaultRef } from '@omnivisor/contracts';

/**
 * Where secrets are: password hashes, user data, secrets of application credentials, keys of tokens. They never stand in
 * an event, a read model, an error or a log line; those carry a `VaultRef`.
 */
export interface Vault {
  /**
   * Keeps a secret; durable when it resolves.
   * @param kind what it is, e.g. `user-data`; part of what the encryption protects
   * @param secret a text is kept as UTF-8
   */
  put(kind: string, secret: string | Uint8Array): Promise<VaultRef>;
  /** @throws DomainError `notFound` for one that was erased or never was; `unavailable` */
  get(ref: VaultRef | string): Promise<Buffer>;
  /** Removes it for good. Erasing twice is harmless. */
  erase(ref: VaultRef | string): Promise<void>;
}

/** What the log says of a secret: enough to tell two apart, and nothing about what they are. */
export const fingerprintOf = (secret: Uint8Array): string => createHash('sha256').update(secret).digest('hex');

export const refOf = (ref: VaultRef | string): string => (typeof ref === 'string' ? ref : ref.ref);

export const bytesOf = (secret: string | Uint8Array): Buffer =>
  typeof secret === 'string' ? Buffer.from(secret, 'utf8') : Buffer.from(secret);

export const noSuchSecret = (): DomainError => notFound('the secret is no longer kept');
