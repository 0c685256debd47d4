import type { z } from 'zod';
import { rank, VersionTable, version } from '../microversion.js';
import type { ByVersion, Call, Microversion, OperationSpec } from '../operation.js';
import type { RegisteredOperation } from '../registry.js';
import { manners } from '../services.js';

/** An operation made ready to be served. */
export interface Served {
  readonly spec: OperationSpec;
  readonly handle: (call: Call) => unknown;
  readonly from: number;
  readonly to: number;
  readonly body: VersionTable<z.ZodType> | undefined;
  readonly query: VersionTable<z.ZodType> | undefined;
  readonly status: VersionTable<number>;
}

/** The operations of one method and path; the request's microversion picks one. */
export class Route {
  readonly operations: Served[] = [];

  constructor(
    readonly method: OperationSpec['method'],
    /** With the service's mount. */
    readonly path: string,
  ) {}

  at(v: Microversion): Served | undefined {
    const wanted = rank(v);
    return this.operations.find((o) => o.from <= wanted && wanted <= o.to);
  }

  add(operation: Served): void {
    if (this.operations.some((o) => o.from <= operation.to && operation.from <= o.to))
      throw new Error(`${this.method} ${this.path} is served twice at one microversion`);
    this.operations.push(operation);
  }
}

const tableOf = <T>(value: ByVersion<T> | T | undefined): VersionTable<T> | undefined => {
  if (value === undefined) return undefined;
  return new VersionTable(Array.isArray(value) ? (value as ByVersion<T>) : [['1.0', value as T]]);
};

export const serve = ({ spec, method }: RegisteredOperation, instance: object): Served => {
  const handler = (instance as Record<string, (call: Call) => unknown>)[method]!;
  return {
    spec,
    handle: handler.bind(instance),
    from: spec.versions ? rank(version(spec.versions[0])) : 0,
    to: spec.versions?.[1] ? rank(version(spec.versions[1])) : Number.POSITIVE_INFINITY,
    body: tableOf(spec.body),
    query: tableOf(spec.query),
    status: tableOf(spec.status ?? 200)!,
  };
};

/** Groups operations into routes; a path without a slash at its end also answers to one with it. */
export const routesOf = (operations: readonly Served[]): Route[] => {
  const routes = new Map<string, Route>();
  for (const operation of operations) {
    const { service, method, path } = operation.spec;
    const { mount, head } = manners[service];
    const full = `${mount}${path === '/' ? '' : path}`;
    const add = (m: OperationSpec['method']) => {
      const route = routes.get(`${m} ${full}`) ?? new Route(m, full);
      routes.set(`${m} ${full}`, route);
      route.add(operation);
    };
    add(method);
    const named = operations.some(
      (o) => o.spec.service === service && o.spec.method === 'HEAD' && o.spec.path === path,
    );
    if (head && method === 'GET' && !named) add('HEAD');
  }
  return [...routes.values()];
};

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'] as const;

const covers = (pattern: string, path: string): boolean => {
  const a = pattern.split('/');
  const b = path.split('/');
  return a.length === b.length && a.every((part, i) => part.startsWith(':') || part === b[i]);
};

/** Paths with the methods they lack, where no other path that fits has them. */
export const wrongMethods = (routes: readonly Route[]): { path: string; method: string; allow: string }[] => {
  const shape = (path: string) => path.replace(/:[^/]+/g, ':');
  const byShape = new Map<string, Route[]>();
  for (const route of routes) byShape.set(shape(route.path), [...(byShape.get(shape(route.path)) ?? []), route]);
  const missing: { path: string; method: string; allow: string }[] = [];
  for (const same of byShape.values()) {
    const path = same[0]!.path;
    const allow = same.map((r) => r.method).join(', ');
    for (const method of METHODS)
      if (!routes.some((r) => r.method === method && covers(r.path, path))) missing.push({ path, method, allow });
  }
  return missing;
};
