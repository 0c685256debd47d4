/** What is used of xen-api 4.7.6, which comes without types. */
declare module 'xen-api' {
  import type { Socket } from 'node:net';

  export interface XapiOptions {
    /** `https://host[:port]` of one member of the pool. */
    readonly url: string;
    readonly auth: { readonly user: string; readonly password: string };
    /** False: no events are read. */
    readonly watchEvents: false;
    /** Milliseconds, for each call. */
    readonly callTimeout?: (method: string) => number;
    readonly callConcurrency?: number;
    /** How reading calls are repeated by the library itself. */
    readonly roCallRetryOptions?: { readonly tries: number };
  }

  export interface Dispatcher {
    destroy(): Promise<void>;
    readonly constructor: new (options: {
      readonly connect: (
        options: { readonly hostname: string; readonly port: string; readonly protocol: string },
        done: (error: Error | null, socket: Socket | null) => void,
      ) => void;
      readonly bodyTimeout: number;
      readonly headersTimeout: number;
    }) => Dispatcher;
  }
  export interface XapiUrl {
    readonly protocol: string;
    readonly hostname: string;
    readonly port?: string;
  }

  export class Xapi {
    constructor(options: XapiOptions);
    connect(): Promise<void>;
    disconnect(): Promise<void>;
    call<T>(method: string, ...args: unknown[]): Promise<T>;
    readonly sessionId: string;
    readonly status: 'connected' | 'connecting' | 'disconnected';
    /** Internals of this very version: it has no setting for the trust in certificates, and does not say where it is. */
    _undiciDispatcher: Dispatcher;
    /** How a call is repeated in a new session. */
    _sessionCallRetryOptions: { readonly tries: number };
    _setUrl(url: XapiUrl): void;
    readonly _url: XapiUrl;
  }
  export const createClient: (options: XapiOptions) => Xapi;
}
