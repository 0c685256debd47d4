import { z } from 'zod';

/**
 * What went wrong, as the domain says it. Only the HTTP edge knows status codes (`libs/openstack`), and each API has
 * its own words for them.
 */
export const ErrorKind = z.enum([
  'invalid',
  'unauthenticated',
  'forbidden',
  'notFound',
  'conflict',
  /** The caller's precondition (revision number, generation) no longer holds: 412. */
  'stale',
  'overQuota',
  'tooLarge',
  'unsupportedMedia',
  'rateLimited',
  'unsupported',
  'unavailable',
]);
export type ErrorKind = z.infer<typeof ErrorKind>;

/** A `DomainError` on the wire. `cause` stays behind: native texts and host names are for our log, not for callers. */
export const WireError = z.object({
  kind: ErrorKind,
  name: z.string(),
  message: z.string(),
  details: z.record(z.string(), z.unknown()).optional(),
});
export type WireError = z.infer<typeof WireError>;

/**
 * An error foreseen by the domain.
 * @param message for the caller: no host names, no paths, no native error text; those belong in `cause`.
 * @param details machine-readable facts about the refusal, safe to show to the caller.
 */
export class DomainError extends Error {
  readonly details?: Record<string, unknown>;

  constructor(
    readonly kind: ErrorKind,
    message: string,
    options: { cause?: unknown; details?: Record<string, unknown>; name?: string } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = options.name ?? new.target.name;
    if (options.details) this.details = options.details;
  }

  toWire(): WireError {
    return {
      kind: this.kind,
      name: this.name,
      message: this.message,
      ...(this.details ? { details: this.details } : {}),
    };
  }

  static fromWire(wire: WireError): DomainError {
    return new DomainError(wire.kind, wire.message, {
      name: wire.name,
      ...(wire.details ? { details: wire.details } : {}),
    });
  }
}

export const invalid = (message: string, details?: Record<string, unknown>) =>
  new DomainError('invalid', message, details ? { details } : {});
export const forbidden = (message: string) => new DomainError('forbidden', message);
export const notFound = (message: string, details?: Record<string, unknown>) =>
  new DomainError('notFound', message, details ? { details } : {});
export const conflict = (message: string, details?: Record<string, unknown>) =>
  new DomainError('conflict', message, details ? { details } : {});
export const unsupported = (message: string) => new DomainError('unsupported', message);
export const unavailable = (message: string, cause?: unknown) =>
  new DomainError('unavailable', message, cause === undefined ? {} : { cause });
