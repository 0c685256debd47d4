import type { Microversion } from '../operation.js';

/** What went wrong with a request, before a service has put it into its own words. */
export interface Fault {
  readonly status: number;
  /** For the caller. */
  readonly message: string;
  /** Class of the error, where an API shows it (Network: `NetworkNotFound`). */
  readonly name?: string;
  /** Machine-readable code, where an API has one (Placement: `placement.concurrent_update`). */
  readonly code?: string;
  readonly detail?: unknown;
  /** Seconds. */
  readonly retryAfter?: number;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface FaultRequest {
  readonly method: string;
  /** Path of the request without its query. */
  readonly path: string;
  readonly accept: string;
  readonly requestId: string;
  /** Undefined until it was negotiated. */
  readonly version: Microversion | undefined;
}

export interface FaultBody {
  readonly contentType: string;
  readonly text: string;
}

/** Puts a fault into a service's own words. */
export type FaultRenderer = (fault: Fault, request: FaultRequest) => FaultBody;

export const json = (body: unknown): FaultBody => ({ contentType: 'application/json', text: JSON.stringify(body) });

export const TITLES: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  406: 'Not Acceptable',
  409: 'Conflict',
  410: 'Gone',
  411: 'Length Required',
  412: 'Precondition Failed',
  413: 'Request Entity Too Large',
  414: 'Request-URI Too Long',
  415: 'Unsupported Media Type',
  416: 'Requested Range Not Satisfiable',
  429: 'Too Many Requests',
  500: 'Internal Server Error',
  501: 'Not Implemented',
  503: 'Service Unavailable',
};

export const titleOf = (status: number): string => TITLES[status] ?? 'Error';

/** The sentence a WSGI server says by itself for a status. */
export const EXPLANATIONS: Readonly<Record<number, string>> = {
  400: 'The server could not comply with the request since it is either malformed or otherwise incorrect.',
  401: 'This server could not verify that you are authorized to access the document you requested.',
  403: 'Access was denied to this resource.',
  404: 'The resource could not be found.',
  406: 'The resource could not be generated that was acceptable to your browser.',
  409: 'There was a conflict when trying to complete your request.',
  412: 'Request precondition failed.',
  413: 'The body of your request was too large for this server.',
  415: 'The request media type is not supported by this server.',
  429: 'The client has sent too many requests in a given amount of time.',
  500: 'The server has either erred or is incapable of performing the requested operation.',
  501: 'The requested functionality is not supported.',
  503: 'The server is currently unavailable. Please try again at a later time.',
};
export const explanationOf = (status: number): string => EXPLANATIONS[status] ?? titleOf(status);
