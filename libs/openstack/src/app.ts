import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import type { INestApplicationContext, LoggerService } from '@nestjs/common';
import { ModulesContainer as Modules, type ModulesContainer, NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { type FastifyInstance, fastify } from 'fastify';
import ipaddr from 'ipaddr.js';
import { discoveryOf } from './discovery.js';
import { Edge, type EdgeLogger, type EdgeOptions, plainUrl, type Refusal, type RequestSummary } from './http/edge.js';
import { RequestLimiter } from './http/limits.js';
import { routesOf, type Served, serve, wrongMethods } from './http/routes.js';
import type { ServiceType } from './operation.js';
import { Policy } from './policy/engine.js';
import type { RuleTable } from './policy/rule.js';
import { operationsOf, type RegisteredOperation } from './registry.js';
import { manners } from './services.js';
import type { TokenValidator } from './token.js';

export interface OpenStackAppOptions {
  /** The Nest module whose controllers carry `@Operation`. */
  readonly module: Parameters<typeof NestFactory.create>[0];
  /** The services this app answers for: their discovery documents and their faults. */
  readonly services: readonly ServiceType[];
  /** Made once the module's providers are there. */
  readonly tokens: (app: INestApplicationContext) => TokenValidator;
  readonly logger: EdgeLogger;
  /** Rules of an operator's policy file by service. */
  readonly policies?: { readonly [S in ServiceType]?: RuleTable };
  /** The root all services share as clients see it, without a trailing slash. */
  readonly publicUrl?: string | undefined;
  /** Addresses and networks (CIDR) of proxies whose `X-Forwarded-*` headers are believed. */
  readonly trustedProxies?: readonly string[];
  readonly observe?: (summary: RequestSummary) => void;
  /** Told of each request that somebody known was refused, once it is answered. */
  readonly refused?: (refusal: Refusal) => void;
  /** Answers reads as of a moment; see `EdgeOptions`. */
  readonly lookingBack?: EdgeOptions['lookingBack'];
  /** Requests at work at one time; more are answered 503. 2,000 when not given. */
  readonly maxInFlight?: number;
  /** Who asks too often is answered 429; nobody is when not given. */
  readonly limiter?: RequestLimiter | undefined;
  /** Milliseconds for the headers of a request; 20 s when not given. */
  readonly headersTimeout?: number;
  /** Adds routes that are no OpenStack operations: health, metrics, proxies. */
  readonly extend?: (fastify: FastifyInstance, app: INestApplicationContext) => void | Promise<void>;
}

/** A Nest application on Fastify that is ready for `listen` and `inject`; `close` lets what runs finish. */
export interface OpenStackApp {
  readonly nest: NestFastifyApplication;
  readonly fastify: FastifyInstance;
  /** @returns the port; `port` 0 takes a free one */
  listen(port: number, host: string): Promise<number>;
  /** Lets traffic go elsewhere before `close`: for `time` milliseconds requests are answered, and connections then ended. */
  drain(time: number): Promise<void>;
  close(): Promise<void>;
}

/** Nest's own error and 404 handlers stay away: the edge has those of each service. */
class EdgeAdapter extends FastifyAdapter {
  override setErrorHandler(): never {
    return undefined as never;
  }
  /** No middleware, no middie. */
  override async init(): Promise<void> {}
  override setNotFoundHandler(): never {
    return undefined as never;
  }
}

export const createOpenStackApp = async (options: OpenStackAppOptions): Promise<OpenStackApp> => {
  const trusted = trustOf(options.trustedProxies ?? []);
  let edge: Edge | undefined;
  const headersTimeout = options.headersTimeout ?? 20_000;
  let draining = false;
  const instance = fastify({
    logger: false,
    http: { headersTimeout, connectionsCheckingInterval: Math.ceil(headersTimeout / 4) },
    trustProxy: (address: string) => trusted(address),
    exposeHeadRoutes: false,
    forceCloseConnections: 'idle',
    // Who asks on a connection that was there before gets an answer, and the connection ends with it.
    return503OnClosing: false,
    rewriteUrl: plainUrl,
    frameworkErrors: (_error, request, reply) => {
      edge?.refuse({ status: 400, message: 'The URL of the request is malformed.' }, request as never, reply as never);
    },
    routerOptions: { ignoreTrailingSlash: true, maxParamLength: 512, querystringParser: () => ({}) },
  });
  instance.addHook('onSend', async (_request, reply) => {
    if (draining) reply.header('connection', 'close');
  });
  endSilentConnections(instance);
  const adapter = new EdgeAdapter(instance as never);
  const nest = await NestFactory.create<NestFastifyApplication>(options.module, adapter, {
    bodyParser: false,
    abortOnError: false,
    logger: nestLogger(options.logger),
  });
  const policies = Object.fromEntries(
    (Object.keys(manners) as ServiceType[]).map((s) => [s, new Policy(s, options.policies?.[s])]),
  ) as Record<ServiceType, Policy>;
  edge = new Edge({
    tokens: options.tokens(nest),
    policies,
    logger: options.logger,
    publicUrl: options.publicUrl?.replace(/\/+$/, ''),
    trusted,
    observe: options.observe,
    refused: options.refused,
    lookingBack: options.lookingBack,
    maxInFlight: options.maxInFlight ?? 2_000,
    limiter: options.limiter ?? new RequestLimiter(),
  } satisfies EdgeOptions);
  edge.install(instance);
  const served = [...operationsIn(nest), ...discoveryOf(options.services)];
  assertPolicies(served, policies);
  const routes = routesOf(served);
  for (const route of routes) edge.mount(instance, route);
  for (const { path, method, allow } of wrongMethods(routes)) edge.mountWrongMethod(instance, path, method, allow);
  await options.extend?.(instance, nest);
  await nest.init();
  await instance.ready();
  return {
    nest,
    fastify: instance,
    listen: async (port, host) => {
      await nest.listen(port, host);
      const address = (instance.server as Server).address();
      return typeof address === 'object' && address ? address.port : port;
    },
    drain: async (time) => {
      draining = true;
      await setTimeout(time);
    },
    close: () => nest.close(),
  };
};

/** Node's server does not count a connection that has sent nothing yet among the idle ones, and its close waits for it. */
const endSilentConnections = (instance: FastifyInstance): void => {
  const open = new Set<Socket>();
  instance.server.on('connection', (socket) => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
  });
  instance.addHook('preClose', async () => {
    for (const socket of open) if (socket.bytesRead === 0) socket.destroy();
  });
};

const operationsIn = (nest: INestApplicationContext): Served[] => {
  const found: Served[] = [];
  const modules: ModulesContainer = nest.get(Modules);
  const seen = new Set<object>();
  for (const module of modules.values())
    for (const wrapper of [...module.controllers.values(), ...module.providers.values()]) {
      const { metatype, instance } = wrapper;
      if (!metatype || !instance || seen.has(instance)) continue;
      const operations: readonly RegisteredOperation[] = operationsOf(metatype);
      if (operations.length === 0) continue;
      seen.add(instance);
      found.push(...operations.map((o) => serve(o, instance)));
    }
  return found;
};

const assertPolicies = (served: readonly Served[], policies: Readonly<Record<ServiceType, Policy>>): void => {
  for (const { spec } of served)
    if (spec.policy !== 'open' && spec.policy !== 'authenticated' && !policies[spec.service].has(spec.policy))
      throw new Error(`${spec.method} ${spec.path}: ${spec.service} has no policy rule ${spec.policy}`);
};

/** Whether an address is that of a trusted proxy: addresses and networks (CIDR). */
export const trustOf = (proxies: readonly string[]): ((address: string) => boolean) => {
  const networks = proxies.map((p) => ipaddr.parseCIDR(p.includes('/') ? p : `${p}/${p.includes(':') ? 128 : 32}`));
  return (address) => {
    if (networks.length === 0 || !ipaddr.isValid(address)) return false;
    const parsed = ipaddr.process(address);
    return networks.some(([network, bits]) => network.kind() === parsed.kind() && parsed.match(network, bits));
  };
};

const nestLogger = (logger: EdgeLogger): LoggerService => {
  const text = (message: unknown) => (message instanceof Error ? message.message : String(message));
  return {
    log: (message: unknown) => logger.debug({}, text(message)),
    warn: (message: unknown) => logger.warn({}, text(message)),
    error: (message: unknown, ...rest: unknown[]) =>
      logger.error(message instanceof Error ? { err: message } : { details: rest }, text(message)),
    fatal: (message: unknown) => logger.error({}, text(message)),
    debug: () => {},
    verbose: () => {},
  };
};
