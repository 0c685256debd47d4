import { DomainError } from '@omnivisor/contracts';
import type { Call, ServiceType } from './operation.js';

export interface Page {
  /** Rows to answer with. */
  readonly limit: number;
  readonly marker: string | undefined;
}

const bad = (message: string, name?: string) => new DomainError('invalid', message, name ? { name } : {});

const LIMIT_TEXT: Readonly<Record<ServiceType, (value: string) => DomainError>> = {
  compute: (v) => bad(`Invalid input for query parameters limit. Value: ${v}. '${v}' does not match '^[0-9]*$'`),
  identity: (v) => bad(`Invalid input for field 'limit': '${v}' is not of type 'integer'`),
  network: (v) => bad(`The limit must be an integer and greater than 0 or -1. Value: ${v}`, 'BadRequest'),
  image: () => bad('limit param must be an integer'),
  placement: (v) => bad(`Invalid query string parameters: limit: ${v} is not a positive integer`),
  volume: () => bad('limit param must be an integer'),
  audit: () => bad('limit must be an integer'),
};

/**
 * `limit` and `marker` of a list. No limit, or one above `max`, gives `max` rows.
 * @throws DomainError `invalid` in the service's words
 */
export const pageOf = (call: Call, max = 1_000): Page => {
  const service = call.operation.service;
  const raw = call.query.limit?.at(-1);
  const marker = call.query.marker?.at(-1);
  if (raw === undefined || (raw === '' && service !== 'image')) return { limit: max, marker };
  const refused = () => LIMIT_TEXT[service](raw.slice(0, 100));
  if (!/^-?\d{1,15}$/.test(raw)) throw refused();
  const limit = Number(raw);
  if (service === 'network' && (limit === -1 || limit === 0)) return { limit: max, marker };
  if (limit < 0) throw service === 'image' ? bad('limit param must be positive') : refused();
  return { limit: service === 'compute' && limit === 0 ? max : Math.min(limit, max), marker };
};

/** URL of the page after `marker`: this request's own, with another marker. */
export const nextUrl = (call: Call, marker: string): string => `${call.publicUrl}${nextPath(call, marker)}`;

/** The same without the service's root, as Glance writes it. */
export const nextPath = (call: Call, marker: string): string => {
  const [path = '', query = ''] = call.path.split('?', 2);
  const parameters = new URLSearchParams(query);
  parameters.delete('marker');
  parameters.append('marker', marker);
  return `${path}?${parameters}`;
};

/** `{servers_links: [...]}` when there is a next page, else nothing to add. */
export const nextLinks = (call: Call, name: string, marker: string | undefined): Record<string, unknown> =>
  marker === undefined ? {} : { [`${name}_links`]: [{ rel: 'next', href: nextUrl(call, marker) }] };
