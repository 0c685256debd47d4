import { DomainError } from '@omnivisor/contracts';
import ipaddr from 'ipaddr.js';
import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';

/** What is counted. */
export type Limited = 'logins' | 'wrongTokens' | 'uploads' | 'lists';

/**
 * How often each may come within a minute, in one process. Logins and wrong tokens are counted by source; uploads and
 * lists by source and by project. 0, or nothing: as often as anybody likes.
 */
export type RequestLimits = { readonly [K in Limited]?: number };

const MINUTE = 60;

/** Whoever has an IPv6 address has a whole network of them. */
const sourceOf = (address: string): string => {
  if (!ipaddr.isValid(address)) return address;
  const parsed = ipaddr.process(address);
  return parsed instanceof ipaddr.IPv6 ? parsed.parts.slice(0, 4).join(':') : parsed.toString();
};

/** Sends away whoever asks for something too often. */
export class RequestLimiter {
  private readonly limiters = new Map<Limited, RateLimiterMemory>();

  /** @param knowsSources false behind a proxy of ours, where all requests come from one address */
  constructor(
    limits: RequestLimits = {},
    private readonly knowsSources = true,
  ) {
    for (const [what, points] of Object.entries(limits) as [Limited, number][])
      if (points > 0) this.limiters.set(what, new RateLimiterMemory({ points, duration: MINUTE }));
  }

  /** @throws DomainError `rateLimited` */
  async bySource(what: Limited, address: string): Promise<void> {
    if (this.knowsSources) await this.count(what, `source ${sourceOf(address)}`);
  }

  /** @throws DomainError `rateLimited` */
  byProject(what: Limited, projectId: string): Promise<void> {
    return this.count(what, `project ${projectId}`);
  }

  private async count(what: Limited, key: string): Promise<void> {
    try {
      await this.limiters.get(what)?.consume(key);
    } catch (full) {
      if (!(full instanceof RateLimiterRes)) throw full;
      throw new DomainError('rateLimited', 'Too many requests. Please try again later.', {
        details: { retryAfter: Math.max(1, Math.ceil(full.msBeforeNext / 1_000)) },
      });
    }
  }
}

interface Asked {
  readonly service: string;
  readonly method: string;
  /** Without the service's mount; parameters by name. */
  readonly path: string;
  readonly stream?: boolean | undefined;
  readonly policy?: string;
}

/** Where passwords are tried. */
const LOGINS = new Set(['/v3/auth/tokens', '/v3/users/:user_id/password']);

/** What a request for an operation counts as; undefined for what is not limited. */
export const limitedAs = ({ service, method, path, stream, policy }: Asked): Limited | undefined => {
  if (service === 'identity' && LOGINS.has(path)) return method === 'POST' ? 'logins' : undefined;
  if (policy === 'open') return undefined;
  if (stream && method !== 'PATCH' && method !== 'GET') return 'uploads';
  return method === 'GET' && !/\/(?::\w+(?:\([\w|-]+\))?|file)?$/.test(path) ? 'lists' : undefined;
};
