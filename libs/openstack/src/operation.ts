import type { CommandContext, DomainError, RequestId, TokenContext } from '@omnivisor/contracts';
import type { z } from 'zod';
import type { Arrival } from './token.js';

export type ServiceType = 'identity' | 'compute' | 'network' | 'image' | 'placement' | 'volume' | 'audit';

/** A microversion such as 2.79; services without microversions have one fixed version. */
export interface Microversion {
  readonly major: number;
  readonly minor: number;
}

/** What holds from a microversion on, e.g. `[['2.1', 200], ['2.2', 201]]`. Ascending. */
export type ByVersion<T> = readonly (readonly [from: string, value: T])[];

/** One route of an OpenStack API, as a table row: what is not in it is not served. */
export interface OperationSpec {
  readonly service: ServiceType;
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Below the service's mount, Fastify syntax: `/v2.1/servers/:id`. */
  readonly path: string;
  /** First and last microversion that serve it; outside it does not exist (404). */
  readonly versions?: readonly [from: string, to?: string];
  /**
   * Policy rule checked before the handler, with the caller's own project as target. Handlers that know the object
   * check again with `call.enforce(rule, target)`. `open`: needs no token at all.
   */
  readonly policy: string | 'open' | 'authenticated';
  /** Schema of the JSON body. A route with one refuses a missing body, a route without one ignores it. */
  readonly body?: ByVersion<z.ZodType> | z.ZodType;
  /** Schema of the query as `{key: string[]}`. */
  readonly query?: ByVersion<z.ZodType> | z.ZodType;
  /** Success code; 200 when not given. */
  readonly status?: ByVersion<number> | number;
  /** What it does, for a document of the API that is made of its operations. */
  readonly summary?: string;
  /** Largest body in bytes; 1 MiB when not given. */
  readonly bodyLimit?: number;
  /** The answer comes from elsewhere than the read model, so that it has no past. */
  readonly live?: boolean;
  /** The answer goes on until the caller or the service ends it: server-sent events. */
  readonly endless?: boolean;
  /** The handler gets the body as a `Readable`, unread, unlimited and of any type: uploads. */
  readonly stream?: boolean;
}

/** One authenticated, validated request, as a handler sees it. */
export interface Call<Body = unknown, Query = Record<string, string[]>> {
  readonly operation: OperationSpec;
  /** Set unless the operation is open. */
  readonly token: TokenContext;
  readonly version: Microversion;
  /** `call.since('2.52')`: the request's microversion is that or newer. */
  since(version: string): boolean;
  readonly params: Readonly<Record<string, string>>;
  readonly query: Query;
  readonly body: Body;
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly requestId: RequestId;
  readonly arrival: Arrival;
  /** Source address of the client. */
  readonly address: string;
  /** Aborted when the client goes away before it has its answer. */
  readonly signal: AbortSignal;
  /** The root that all services share as the client sees it, without a trailing slash: `https://cloud.example`. */
  readonly publicRoot: string;
  /** The service's root as the client sees it, without a trailing slash: `https://cloud.example/compute`. */
  readonly publicUrl: string;
  /** Path and query of this request below `publicUrl`, for paging links. */
  readonly path: string;
  /**
   * Context for a command of this request. A request that sends several commands names them; the same name gives the
   * same command id.
   */
  context(step?: string): CommandContext;
  /** True when the policy allows it for the target, e.g. `{project_id, user_id}`. */
  can(rule: string, target?: Record<string, unknown>): boolean;
  /** @throws DomainError `forbidden` with OpenStack's text */
  enforce(rule: string, target?: Record<string, unknown>): void;
  /** The refusal that `enforce` throws, for handlers that decide by themselves. */
  refusal(rule: string): DomainError;
  /** True when the token has the role `admin`. */
  readonly isAdmin: boolean;
}

/**
 * A handler's answer when it is more than a JSON body. A `Readable` or a Buffer is sent as it is; name its
 * `content-type`.
 */
export class Reply {
  constructor(
    readonly body: unknown,
    readonly options: { readonly status?: number; readonly headers?: Record<string, string> } = {},
  ) {}
}
