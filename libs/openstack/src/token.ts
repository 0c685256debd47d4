import { createHash } from 'node:crypto';
import { type Endpoint, identityValidate, type TokenContext } from '@omnivisor/contracts';
import { LRUCache } from 'lru-cache';
import type { z } from 'zod';

/** What is found out once for a request, and used in all that it needs. */
export interface Arrival {
  /** Where the log was at some moment after the request had come in. */
  head?: Promise<number>;
}

/** Tells what a token says about its bearer. */
export interface TokenValidator {
  /**
   * @param arrival of the request that came with the token
   * @returns null for a token that is malformed, expired, revoked, or whose user or scope is gone or disabled
   * @throws DomainError `unavailable` when that cannot be told now
   */
  validate(token: string, arrival?: Arrival): Promise<TokenContext | null>;
}

/** The longest token that anyone looks at. */
export const MAX_TOKEN_LENGTH = 2_048;

interface Asker {
  request<Q extends z.ZodType, R extends z.ZodType>(
    endpoint: Endpoint<Q, R>,
    request: z.input<Q>,
  ): Promise<z.output<R>>;
}

const MAX_AGE = 1_000;
const MAX_ENTRIES = 5_000;

/** Asks the identity service over the bus and remembers its answer for at most a second. */
export class BusTokenValidator implements TokenValidator {
  private readonly known = new LRUCache<
    string,
    { readonly until: number; readonly answer: Promise<TokenContext | null> }
  >({ max: MAX_ENTRIES });

  /** @param now milliseconds of any clock */
  constructor(
    private readonly bus: Asker,
    private readonly now: () => number = Date.now,
  ) {}

  validate(token: string): Promise<TokenContext | null> {
    const key = createHash('sha256').update(token).digest('base64');
    const now = this.now();
    const entry = this.known.get(key);
    if (entry && entry.until > now) return entry.answer;
    const answer = this.bus.request(identityValidate, { token }).then((reply) => reply.context);
    answer.catch(() => this.known.delete(key));
    this.known.set(key, { until: now + MAX_AGE, answer });
    return answer;
  }
}
