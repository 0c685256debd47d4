import type { Inventory } from '@omnivisor/contracts';
import { type ByVersion, type Call, Reply } from '@omnivisor/openstack';
import { capacityOf } from '../scheduling/provider/provider.js';
import type { PlacementProvider } from './providers.js';

/** A field of a view and the microversion it came with. */
type Field<T> = readonly [since: string, name: string, value: (row: T, call: Call) => unknown];

const view =
  <T>(fields: readonly Field<T>[]) =>
  (row: T, call: Call): Record<string, unknown> =>
    Object.fromEntries(
      fields.filter(([since]) => call.since(since)).map(([, name, value]) => [name, value(row, call)]),
    );

const mount = (call: Call): string => {
  try {
    return new URL(call.publicUrl).pathname.replace(/\/$/, '');
  } catch {
    return call.publicUrl;
  }
};

const LINKS: ByVersion<string> = [
  ['1.0', 'self'],
  ['1.0', 'inventories'],
  ['1.0', 'usages'],
  ['1.1', 'aggregates'],
  ['1.6', 'traits'],
  ['1.11', 'allocations'],
];

const links = (provider: PlacementProvider, call: Call) => {
  const self = `${mount(call)}/resource_providers/${provider.id}`;
  return LINKS.filter(([since]) => call.since(since)).map(([, rel]) => ({
    rel,
    href: rel === 'self' ? self : `${self}/${rel}`,
  }));
};

export const providerView = view<PlacementProvider>([
  ['1.0', 'uuid', (p) => p.id],
  ['1.0', 'name', (p) => p.name],
  ['1.0', 'generation', (p) => p.generation],
  ['1.0', 'links', links],
  ['1.14', 'parent_provider_uuid', (p) => p.parentId],
  ['1.14', 'root_provider_uuid', (p) => p.rootId],
]);

export const inventoryView = (i: Inventory) => ({
  total: i.total,
  reserved: i.reserved,
  min_unit: i.minUnit,
  max_unit: i.maxUnit,
  step_size: i.stepSize,
  allocation_ratio: i.allocationRatio,
});

export const usagesOf = (provider: PlacementProvider): Record<string, number> =>
  Object.fromEntries(Object.keys(provider.inventories).map((name) => [name, provider.used[name] ?? 0]));

/** Answers about a provider tell which state of it they are of. */
export const withGeneration = (provider: PlacementProvider, body: object) => ({
  ...body,
  resource_provider_generation: provider.generation,
});

export const classView = (name: string, call: Call) => ({
  name,
  links: [{ rel: 'self', href: `${mount(call)}/resource_classes/${name}` }],
});

/**
 * Summaries of providers for one answer: there may be thousands, so what depends on the call alone is asked once.
 * @param asked only these classes before 1.27
 */
export const summariesFor = (asked: ReadonlySet<string>, call: Call) => {
  const hasAll = call.since('1.27');
  const hasTraits = call.since('1.17');
  const hasTree = call.since('1.29');
  return ({ inventories, used, traits, parentId, rootId }: PlacementProvider) => {
    const resources: Record<string, { capacity: number; used: number }> = {};
    for (const name in inventories)
      if (hasAll || asked.has(name))
        resources[name] = { capacity: capacityOf(inventories[name]!), used: used[name] ?? 0 };
    return {
      resources,
      ...(hasTraits ? { traits } : {}),
      ...(hasTree ? { parent_provider_uuid: parentId, root_provider_uuid: rootId } : {}),
    };
  };
};

interface Answer {
  /** When what it tells changed last; now when not given. */
  readonly at?: string;
  readonly status?: number;
  /** Of what was made, below the service's root. */
  readonly location?: string;
}

/** From 1.15 on answers say how old they are, and that they must not be kept. */
export const dated = (call: Call, body: unknown, { at, status, location }: Answer = {}): Reply =>
  new Reply(body, {
    ...(status === undefined ? {} : { status }),
    headers: {
      ...(location === undefined ? {} : { location: call.publicUrl + location }),
      ...(call.since('1.15')
        ? { 'last-modified': new Date(at || Date.now()).toUTCString(), 'cache-control': 'no-cache' }
        : {}),
    },
  });

/** An answer that only says where something is. */
export const located = (call: Call, location: string, status: number): Reply =>
  new Reply(undefined, { status, headers: { location: call.publicUrl + location } });
