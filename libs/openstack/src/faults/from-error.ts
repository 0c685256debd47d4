import { DomainError, type ErrorKind } from '@omnivisor/contracts';
import type { ServiceType } from '../operation.js';
import { explanationOf, type Fault } from './fault.js';

const STATUS: Readonly<Record<ErrorKind, number>> = {
  invalid: 400,
  unauthenticated: 401,
  forbidden: 403,
  notFound: 404,
  conflict: 409,
  stale: 412,
  overQuota: 403,
  tooLarge: 413,
  unsupportedMedia: 415,
  rateLimited: 429,
  unsupported: 501,
  unavailable: 503,
};

/** Where a service says a kind with another status than the rest. */
const OWN_STATUS: { readonly [S in ServiceType]?: { readonly [K in ErrorKind]?: number } } = {
  network: { overQuota: 409 },
  image: { overQuota: 413, tooLarge: 413 },
};

const INTERNAL: Readonly<Record<ServiceType, string>> = {
  compute: 'Unexpected API Error. Please report it with the request id of this answer.',
  identity:
    'An unexpected error prevented the server from fulfilling your request. Please report it with the request id of this answer.',
  network: 'Request Failed: internal server error while processing your request.',
  image: explanationOf(500),
  placement: explanationOf(500),
  volume: explanationOf(500),
  audit: explanationOf(500),
};

const UNAUTHENTICATED = 'The request you have made requires authentication.';

/** What the caller may know of an error. Everything but a `DomainError` is a 500 that says nothing. */
export const faultOf = (error: unknown, service: ServiceType): Fault => {
  if (!(error instanceof DomainError)) return { status: 500, message: INTERNAL[service] };
  const status = OWN_STATUS[service]?.[error.kind] ?? STATUS[error.kind];
  const retryAfter = retryOf(error);
  const code = error.details?.code;
  return {
    status,
    message: messageOf(error, status),
    ...(error.name === 'DomainError' ? {} : { name: error.name }),
    ...(typeof code === 'string' ? { code } : {}),
    ...(error.details?.detail === undefined ? {} : { detail: error.details.detail }),
    ...(retryAfter === undefined ? {} : { retryAfter }),
  };
};

const messageOf = (error: DomainError, status: number): string => {
  if (error.kind === 'unauthenticated') return error.message || UNAUTHENTICATED;
  return error.message || explanationOf(status);
};

const retryOf = (error: DomainError): number | undefined => {
  const given = error.details?.retryAfter;
  if (typeof given === 'number') return Math.max(1, Math.ceil(given));
  return error.kind === 'unavailable' || error.kind === 'rateLimited' ? 1 : undefined;
};

export const unauthenticated = (message = UNAUTHENTICATED): DomainError => new DomainError('unauthenticated', message);
