import type { Inventory, ResourceAmounts } from '@omnivisor/contracts';
import { type ByVersion, type Call, Reply } from '@omnivisor/openstack';
import type { ProviderView } from '../core/world.js';
import { capacityOf } from '../scheduling/provider/provider.js';

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

const links = (provider: ProviderView, call: Call) => {
  const self = `${mount(call)}/resource_providers/${provider.id}`;
  return LINKS.filter(([since]) => call.since(since)).map(([, rel]) => ({
    rel,
    href: rel === 'self' ? self : `${self}/${rel}`,
  }));
};

export const providerView = view<ProviderView>([
  ['1.0', 'uuid', (p) => p.id],
  ['1.0', 'name', (p) => p.name],
  ['1.0', 'generation', (p) => p.revision],
  ['1.0', 'links', links],
  ['1.14', 'parent_provider_uuid', () => null],
  ['1.14', 'root_provider_uuid', (p) => p.id],
]);

export const inventoryView = (i: Inventory) => ({
  total: i.total,
  reserved: i.reserved,
  min_unit: i.minUnit,
  max_unit: i.maxUnit,
  step_size: i.stepSize,
  allocation_ratio: i.allocationRatio,
});

export const usagesOf = (provider: ProviderView): Record<string, number> =>
  Object.fromEntries(Object.keys(provider.inventories).map((name) => [name, provider.used[name] ?? 0]));

export const classView = (name: string, call: Call) => ({
  name,
  links: [{ rel: 'self', href: `${mount(call)}/resource_classes/${name}` }],
});

/** @param wanted only these classes before 1.27 */
export const summaryView = (provider: ProviderView, wanted: ResourceAmounts, call: Call) =>
  view<ProviderView>([
    [
      '1.10',
      'resources',
      (p) =>
        Object.fromEntries(
          Object.entries(p.inventories)
            .filter(([name]) => call.since('1.27') || wanted[name] !== undefined)
            .map(([name, i]) => [name, { capacity: capacityOf(i), used: p.used[name] ?? 0 }]),
        ),
    ],
    ['1.17', 'traits', (p) => p.traits],
    ['1.29', 'parent_provider_uuid', () => null],
    ['1.29', 'root_provider_uuid', (p) => p.id],
  ])(provider, call);

/** From 1.15 on answers say how old they are, and that they must not be kept. */
export const dated = (call: Call, body: unknown, at?: string, status?: number): Reply =>
  new Reply(body, {
    ...(status === undefined ? {} : { status }),
    ...(call.since('1.15')
      ? { headers: { 'last-modified': new Date(at ?? Date.now()).toUTCString(), 'cache-control': 'no-cache' } }
      : {}),
  });
