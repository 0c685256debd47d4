import { Readable } from 'node:stream';
import { DomainError, type RequestId, type TokenContext } from '@omnivisor/contracts';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { z } from 'zod';
import { isPermitted } from '../access-rules.js';
import type { Fault } from '../faults/fault.js';
import { faultOf, unauthenticated } from '../faults/from-error.js';
import { renderers } from '../faults/renderers.js';
import { schemaIssues } from '../issues.js';
import { microversions, negotiate, versionText } from '../microversion.js';
import { type Call, type Microversion, Reply, type ServiceType } from '../operation.js';
import type { Policy } from '../policy/engine.js';
import { manners } from '../services.js';
import { type Arrival, MAX_TOKEN_LENGTH, type TokenValidator } from '../token.js';
import { collect, DEFAULT_BODY_LIMIT, isStorable, parseJson } from './body.js';
import { HttpCall, queryOf } from './call.js';
import { limitedAs, type RequestLimiter } from './limits.js';
import { type PublicUrlOptions, publicRoot } from './public-url.js';
import { globalRequestId, newRequestId } from './request-id.js';
import type { Route, Served } from './routes.js';

/** The part of pino that the edge uses. */
export interface EdgeLogger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** One answered request, for log lines and metrics. */
export interface RequestSummary {
  readonly service: ServiceType | undefined;
  readonly method: string;
  /** Path with its parameters' names instead of values; undefined when nothing serves it. */
  readonly route: string | undefined;
  readonly status: number;
  readonly milliseconds: number;
}

/** A request of somebody known who asked for what he may not do. */
export interface Refusal {
  readonly requestId: RequestId;
  readonly correlationId: RequestId;
  readonly token: TokenContext;
  readonly address: string;
  /** Method and path with its parameters' names. */
  readonly operation: string;
  /** The rule that said no; null where no single rule did. */
  readonly rule: string | null;
  readonly params: Readonly<Record<string, string>>;
  /** 403, or 404 where the target is hidden from the caller. */
  readonly status: number;
}

export interface EdgeOptions extends PublicUrlOptions {
  readonly tokens: TokenValidator;
  readonly policies: Readonly<Record<ServiceType, Policy>>;
  readonly logger: EdgeLogger;
  readonly observe?: ((summary: RequestSummary) => void) | undefined;
  /** Called once a refusal has been answered. */
  readonly refused?: ((refusal: Refusal) => void) | undefined;
  /** Answers a read as of a moment that the caller names by `?at=`; not given: `at` is a parameter like any other. */
  readonly lookingBack?: (<T>(moment: string, read: () => Promise<T>) => Promise<T>) | undefined;
  /** Requests at work at one time; more are answered 503. */
  readonly maxInFlight: number;
  readonly limiter: RequestLimiter;
}

interface State {
  readonly started: number;
  readonly service: ServiceType | undefined;
  readonly requestId: RequestId;
  /** Kept from its beginning: a connection that has ended has none. */
  readonly address: string;
  readonly globalId: RequestId | undefined;
  readonly arrival: Arrival;
  served: Served | undefined;
  version: Microversion | undefined;
  token: TokenContext | undefined;
  counted: boolean;
  /** The last rule that said no. */
  rule: string | undefined;
  forbidden: boolean;
}

const states = new WeakMap<object, State>();
const LEGACY_PROJECT = /^(\/compute\/v2\.1)\/([0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?=\/)/;
const projectsInPath = new WeakMap<object, string>();

/** Compute's older URLs name the project: `/v2.1/<project>/servers`. */
const withoutProject = (raw: { url?: string | undefined }): string => {
  const url = raw.url ?? '/';
  if (!url.startsWith('/compute/v2.1/')) return url;
  const match = LEGACY_PROJECT.exec(url);
  if (!match) return url;
  projectsInPath.set(raw, match[2]!);
  return match[1] + url.slice(match[0].length);
};

/** Networking's URLs may name the format: `/v2.0/networks.json`. */
const withoutFormat = (url: string): string =>
  url.startsWith('/network/v2.0/') ? url.replace(/^([^?]*)\.json(?=\?|$)/, '$1') : url;

/** The URL that routes know, of the older spellings that clients still use. */
export const plainUrl = (raw: { url?: string | undefined }): string => withoutFormat(withoutProject(raw));

const serviceOf = (url: string): ServiceType | undefined => {
  const end = url.slice(1).search(/[/?]/);
  const mount = end < 0 ? url : url.slice(0, end + 1);
  const service = mount.slice(1) as ServiceType;
  return Object.hasOwn(manners, service) ? service : undefined;
};

/** False for routes that others added: what is passed on is judged where it arrives. */
const isOurs = (request: FastifyRequest): boolean => {
  const config = request.routeOptions.config as { route?: Route; edge?: boolean };
  return request.is404 || config.route !== undefined || config.edge === true;
};

/** Everything OpenStack's services have in common on their HTTP side, as Fastify hooks and handlers. */
export class Edge {
  private inFlight = 0;

  constructor(private readonly options: EdgeOptions) {}

  install(fastify: FastifyInstance): void {
    fastify.removeAllContentTypeParsers();
    fastify.addContentTypeParser('*', (_request, payload, done) => done(null, payload));
    fastify.addHook('onRequest', (request, reply) => this.arrive(request, reply));
    fastify.addHook('onResponse', async (request, reply) => this.finish(request, reply));
    fastify.setErrorHandler((error, request, reply) => this.fail(error, request, reply));
    fastify.setNotFoundHandler((request, reply) => this.notFound(request, reply));
  }

  mount(fastify: FastifyInstance, route: Route): void {
    fastify.route({
      method: route.method,
      url: route.path,
      config: { route },
      handler: (request, reply) => this.answer(request, reply),
    });
  }

  mountWrongMethod(fastify: FastifyInstance, path: string, method: string, allow: string): void {
    fastify.route({
      method,
      url: path,
      config: { edge: true },
      handler: (request, reply) => {
        const service = this.stateOf(request).service!;
        const { wrongMethod, notFound } = manners[service];
        const fault: Fault =
          wrongMethod === 404
            ? { status: 404, message: notFound }
            : { status: 405, message: `The method is not allowed for the requested URL.`, headers: { allow } };
        return this.refuse(fault, request, reply);
      },
    });
  }

  private stateOf(request: FastifyRequest): State {
    let state = states.get(request.raw);
    if (!state) {
      state = {
        started: performance.now(),
        service: serviceOf(request.raw.url ?? '/'),
        requestId: newRequestId(),
        address: request.ip,
        globalId: globalRequestId(request.headers['x-openstack-request-id']),
        arrival: {},
        served: undefined,
        version: undefined,
        token: undefined,
        counted: false,
        rule: undefined,
        forbidden: false,
      };
      states.set(request.raw, state);
    }
    return state;
  }

  private async arrive(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    const state = this.stateOf(request);
    const { service } = state;
    if (service === undefined || !isOurs(request)) return;
    for (const name of manners[service].requestIdHeaders) reply.header(name, state.requestId);
    if (this.inFlight >= this.options.maxInFlight)
      throw new DomainError('unavailable', 'The service has too much to do. Please try again.');
    this.inFlight++;
    state.counted = true;
    const route = (request.routeOptions.config as { route?: Route }).route;
    const limited = route && limitedAs(route.operations[0]!.spec);
    if (limited) await this.options.limiter.bySource(limited, request.ip);
    const open = route?.operations.some((o) => o.spec.policy === 'open') ?? false;
    if (!open && (route !== undefined || manners[service].tokenFirst)) await this.authenticate(request, state);
    const negotiation = negotiate(service, request.headers);
    if (!negotiation.ok) return this.refuse(versionFault(service, negotiation), request, reply);
    state.version = negotiation.version;
    if (!open && manners[service].exactPaths && /^[^?]*\/(?:\?|$)/.test(request.raw.url ?? '/'))
      throw new DomainError('notFound', manners[service].notFound);
    if (route === undefined) return;
    versionHeaders(service, negotiation.version, reply);
    state.served = route.at(negotiation.version);
    if (!state.served) throw new DomainError('notFound', manners[service].notFound);
    if (state.served.spec.policy !== 'open' && !state.token) await this.authenticate(request, state);
    if (limited && state.token?.projectId) await this.options.limiter.byProject(limited, state.token.projectId);
  }

  private async authenticate(request: FastifyRequest, state: State): Promise<void> {
    const token = request.headers['x-auth-token'];
    if (typeof token !== 'string' || token === '' || token.length > MAX_TOKEN_LENGTH) throw unauthenticated();
    const context = await this.options.tokens.validate(token, state.arrival);
    if (!context) {
      await this.options.limiter.bySource('wrongTokens', request.ip);
      throw unauthenticated();
    }
    this.checkRules(request, state.service!, context);
    state.token = context;
    const named = projectsInPath.get(request.raw);
    if (named !== undefined && named !== context.projectId)
      throw new DomainError(
        'invalid',
        `Malformed request URL: URL's project_id '${named}' doesn't match Context's project_id '${context.projectId}'`,
      );
  }

  /** A token that may ask some things only is none for all others. */
  private checkRules(request: FastifyRequest, service: ServiceType, { accessRules }: TokenContext): void {
    if (accessRules === undefined) return;
    const [own, plain] = [request.originalUrl, request.raw.url ?? '/'].map((url) => url.split('?', 1)[0]!);
    const { mount } = manners[service];
    const paths = [own!, plain!].flatMap((path) => [path, path.slice(mount.length)]);
    // Whoever has a token may ask what it is worth.
    const isOwn = service === 'identity' && request.method === 'GET' && plain === `${mount}/v3/auth/tokens`;
    if (!isOwn && !isPermitted(accessRules, { service, method: request.method, paths })) throw unauthenticated();
  }

  private async answer(request: FastifyRequest, reply: FastifyReply): Promise<unknown> {
    const state = this.stateOf(request);
    const served = state.served!;
    const service = state.service!;
    const { policyFirst, notFound } = manners[service];
    const params = request.params as Record<string, string>;
    for (const name in params) if (!isStorable(params[name]!)) throw new DomainError('notFound', notFound);
    const url = request.raw.url ?? '/';
    const { mount } = manners[service];
    const call = new HttpCall({
      request,
      operation: served.spec,
      params,
      token: state.token,
      version: state.version!,
      requestId: state.requestId,
      correlationId: state.globalId ?? state.requestId,
      arrival: state.arrival,
      publicRoot: publicRoot(request, this.options),
      mount,
      path: url.slice(mount.length),
      policy: this.options.policies[service],
      onRefusal: (rule) => {
        state.rule = rule;
      },
    });
    const { policy } = served.spec;
    const enforce = () => {
      if (policy !== 'open' && policy !== 'authenticated') call.enforce(policy);
    };
    if (policyFirst) enforce();
    const query = queryOf(url);
    if (!query) throw new DomainError('invalid', 'The query string of the request is malformed.');
    const moment = this.momentOf(served, query);
    const querySchema = served.query?.at(call.version);
    call.query = querySchema ? (valid(querySchema, query, service, 'query') as Record<string, string[]>) : query;
    if (served.spec.stream) call.body = request.body ?? Readable.from([]);
    else if (served.body) call.body = await this.readBody(request, served, call, service);
    if (!policyFirst) enforce();
    const read = async () => served.handle(call as Call);
    const result = moment === undefined ? await read() : await this.options.lookingBack!(moment, read);
    return send(result, served.status.at(call.version) ?? 200, service, reply);
  }

  /** The moment a read asks for, taken out of its query. */
  private momentOf({ spec }: Served, query: Record<string, string[]>): string | undefined {
    if (!this.options.lookingBack || query.at === undefined) return undefined;
    if (spec.method !== 'GET') throw new DomainError('invalid', 'What was cannot be changed.');
    const [moment, ...more] = query.at;
    delete query.at;
    if (more.length > 0) throw new DomainError('invalid', 'One moment can be asked for at a time.');
    if (spec.live) throw new DomainError('invalid', 'This can only be answered for the present.');
    return moment;
  }

  private async readBody(request: FastifyRequest, served: Served, call: Call, service: ServiceType): Promise<unknown> {
    const { malformed, wrongType } = manners[service];
    const type = (request.headers['content-type'] ?? '').split(';')[0]!.trim().toLowerCase();
    if (type !== '' && type !== 'text/plain' && !/^application\/(?:[a-z0-9.+-]*[+-])?json$/.test(type))
      throw new DomainError(wrongType.status === 400 ? 'invalid' : 'unsupportedMedia', wrongType.message);
    const stream = request.body as NodeJS.ReadableStream | undefined | null;
    const bytes = stream
      ? await collect(stream, served.spec.bodyLimit ?? DEFAULT_BODY_LIMIT, request.headers['content-length'])
      : Buffer.alloc(0);
    const parsed = parseJson(bytes);
    if (!parsed) throw new DomainError('invalid', malformed);
    const schema = served.body!.at(call.version);
    return schema ? valid(schema, parsed.value, service, 'body') : parsed.value;
  }

  private async notFound(request: FastifyRequest, reply: FastifyReply): Promise<unknown> {
    const { service } = this.stateOf(request);
    return this.refuse({ status: 404, message: manners[service ?? 'identity'].notFound }, request, reply);
  }

  private fail(error: unknown, request: FastifyRequest, reply: FastifyReply): unknown {
    const state = this.stateOf(request);
    state.forbidden = error instanceof DomainError && error.kind === 'forbidden';
    const known = frameworkFault(error, state.service ?? 'identity');
    const fault = known ?? faultOf(error, state.service ?? 'identity');
    const fields = { ...this.fields(state, request), status: fault.status, err: error };
    if (fault.status === 500) this.options.logger.error(fields, 'request failed unexpectedly');
    else if (fault.status === 503) this.options.logger.warn(fields, 'request refused: not available');
    else if (error instanceof Error && error.cause !== undefined) this.options.logger.info(fields, 'request refused');
    return this.refuse(fault, request, reply);
  }

  /** Answers with a fault in the words of the request's service. */
  refuse(fault: Fault, request: FastifyRequest, reply: FastifyReply): FastifyReply {
    const state = this.stateOf(request);
    const service = state.service ?? 'identity';
    if (fault.status === 401) {
      const keystone = `${publicRoot(request, this.options)}${manners.identity.mount}`;
      reply.header('www-authenticate', `Keystone uri="${keystone}"`);
    }
    for (const [name, value] of Object.entries(fault.headers ?? {})) reply.header(name, value);
    if (fault.retryAfter !== undefined) reply.header('retry-after', String(fault.retryAfter));
    for (const name of manners[service].requestIdHeaders) reply.header(name, state.requestId);
    const accept = request.headers.accept ?? '';
    const body = renderers[fault.status === 401 ? 'identity' : service](fault, {
      method: request.method,
      path: request.raw.url?.split('?', 1)[0] ?? '/',
      accept,
      requestId: state.requestId,
      version: state.version,
    });
    return reply.code(fault.status).header('content-type', body.contentType).send(body.text);
  }

  private finish(request: FastifyRequest, reply: FastifyReply): void {
    const state = this.stateOf(request);
    if (state.counted) this.inFlight--;
    if (state.service === undefined || !isOurs(request)) return;
    const milliseconds = performance.now() - state.started;
    const fields = {
      ...this.fields(state, request),
      status: reply.statusCode,
      ms: Math.round(milliseconds * 10) / 10,
      ...(state.token ? { userId: state.token.userId, projectId: state.token.projectId } : {}),
    };
    if (request.method === 'GET' || request.method === 'HEAD') this.options.logger.debug(fields, 'request');
    else this.options.logger.info(fields, 'request');
    this.options.observe?.({
      service: state.service,
      method: request.method,
      route: request.routeOptions.url,
      status: reply.statusCode,
      milliseconds,
    });
    const { statusCode: status } = reply;
    const hidden = state.rule !== undefined && status === 404;
    if (!state.token || !(state.forbidden || hidden)) return;
    this.options.refused?.({
      requestId: state.requestId,
      correlationId: state.globalId ?? state.requestId,
      token: state.token,
      address: state.address,
      operation: `${request.method} ${request.routeOptions.url ?? ''}`,
      rule: state.rule ?? null,
      params: request.params as Record<string, string>,
      status,
    });
  }

  private fields(state: State, request: FastifyRequest): object {
    return {
      requestId: state.requestId,
      ...(state.globalId ? { globalRequestId: state.globalId } : {}),
      method: request.method,
      path: request.raw.url?.split('?', 1)[0],
      address: state.address,
    };
  }
}

const valid = (schema: z.ZodType, input: unknown, service: ServiceType, where: 'body' | 'query'): unknown => {
  const result = schema.safeParse(input);
  if (result.success) return result.data;
  const issue = schemaIssues(result.error, input)[0]!;
  throw new DomainError('invalid', manners[service].wording(issue, where));
};

const send = (result: unknown, status: number, service: ServiceType, reply: FastifyReply): FastifyReply => {
  const answer = result instanceof Reply ? result : new Reply(result);
  const { body } = answer;
  reply.code(answer.options.status ?? status);
  const headers = answer.options.headers ?? {};
  for (const name in headers) reply.header(name, headers[name]);
  if (body === undefined || body === null) {
    // A WSGI server names its default type even when there is no body.
    if (reply.statusCode !== 204 && service === 'compute') reply.header('content-type', 'text/html; charset=UTF-8');
    return reply.send();
  }
  if (body instanceof Readable || Buffer.isBuffer(body) || typeof body === 'string') return reply.send(body);
  return reply.header('content-type', 'application/json').send(JSON.stringify(body));
};

const versionHeaders = (service: ServiceType, version: Microversion, reply: FastifyReply): void => {
  if (!microversions[service]) return;
  const text = versionText(version);
  reply.header('openstack-api-version', `${service} ${text}`);
  if (service === 'compute') {
    reply.header('x-openstack-nova-api-version', text);
    reply.header('vary', 'OpenStack-API-Version, X-OpenStack-Nova-API-Version');
  } else reply.header('vary', service === 'placement' ? 'openstack-api-version' : 'OpenStack-API-Version');
};

const versionFault = (service: ServiceType, refused: { status: 400 | 406; asked: string }): Fault => {
  const { min, max } = microversions[service]!;
  const asked = refused.asked.slice(0, 100);
  if (service === 'placement')
    return {
      status: refused.status,
      message: refused.status === 406 ? `Unacceptable version header: ${asked}` : `invalid version string: ${asked}`,
    };
  return {
    status: refused.status,
    message:
      refused.status === 406
        ? `Version ${asked} is not supported by the API. Minimum is ${versionText(min)} and maximum is ${versionText(max)}.`
        : `API Version String ${asked} is of invalid format. Must be of format MajorNum.MinorNum.`,
  };
};

/** What Fastify itself refuses, before anything of ours ran. */
const frameworkFault = (error: unknown, service: ServiceType): Fault | undefined => {
  if (error instanceof DomainError) return undefined;
  const status = (error as { statusCode?: unknown } | undefined)?.statusCode;
  const code = (error as { code?: unknown } | undefined)?.code;
  if (typeof code !== 'string' || !code.startsWith('FST_') || typeof status !== 'number' || status >= 500)
    return undefined;
  return { status, message: status === 404 ? manners[service].notFound : manners[service].malformed };
};
