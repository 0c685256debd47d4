import type { IncomingHttpHeaders } from 'node:http';

export interface PublicUrlOptions {
  /** The root all services share as clients see it, e.g. `https://cloud.example/openstack`; wins over all headers. */
  readonly publicUrl?: string | undefined;
  /** True when the peer's `X-Forwarded-*` headers may be believed. */
  readonly trusted: (address: string) => boolean;
}

const HOST = /^(?:\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9_.-]{1,255})(?::\d{1,5})?$/;
const PREFIX = /^(?:\/[A-Za-z0-9_.~-]+)+$/;

interface Asked {
  readonly headers: IncomingHttpHeaders;
  readonly raw: { readonly socket: { readonly remoteAddress?: string | undefined } };
}

/** The root all services share as this client sees it, without a trailing slash. */
export const publicRoot = (request: Asked, options: PublicUrlOptions): string => {
  if (options.publicUrl !== undefined) return options.publicUrl;
  const trusted = options.trusted(request.raw.socket.remoteAddress ?? '');
  const header = (name: string): string | undefined => {
    const value = trusted ? request.headers[name] : undefined;
    return typeof value === 'string' ? value.split(',')[0]!.trim() : undefined;
  };
  const proto = header('x-forwarded-proto') === 'https' ? 'https' : 'http';
  const host = [header('x-forwarded-host'), request.headers.host].find((h) => h !== undefined && HOST.test(h));
  const prefix = header('x-forwarded-prefix')?.replace(/\/+$/, '');
  return `${proto}://${host ?? 'localhost'}${prefix !== undefined && PREFIX.test(prefix) ? prefix : ''}`;
};
