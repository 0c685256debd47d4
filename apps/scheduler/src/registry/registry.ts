import type { Inventory, ResourceAmounts, ResourceRegistryEvent } from '@omnivisor/contracts';

/** A resource provider that a client of Placement registered. */
export interface RegisteredProvider {
  readonly id: string;
  readonly name: string;
  readonly parentId: string | null;
  /** Counts its changes; clients send it back to say what they build on. */
  readonly generation: number;
  readonly inventories: Readonly<Record<string, Inventory>>;
  readonly traits: readonly string[];
  readonly aggregates: readonly string[];
  readonly used: Readonly<Record<string, number>>;
}

export interface Consumer {
  readonly id: string;
  readonly projectId: string;
  readonly userId: string;
  readonly type: string | null;
  readonly generation: number;
  readonly allocations: Readonly<Record<string, ResourceAmounts>>;
}

/** All that clients of Placement registered. */
export interface Registry {
  readonly traits: ReadonlySet<string>;
  readonly classes: ReadonlySet<string>;
  readonly providers: ReadonlyMap<string, RegisteredProvider>;
  readonly consumers: ReadonlyMap<string, Consumer>;
}

export const noRegistry: Registry = {
  traits: new Set(),
  classes: new Set(),
  providers: new Map(),
  consumers: new Map(),
};

const withItem = (set: ReadonlySet<string>, item: string) => new Set([...set, item]);
const without = (set: ReadonlySet<string>, item: string) => new Set([...set].filter((i) => i !== item));

const changed = (registry: Registry, id: string, change: Partial<RegisteredProvider>, counts = true): Registry => {
  const provider = registry.providers.get(id);
  if (!provider) return registry;
  const generation = provider.generation + (counts ? 1 : 0);
  return { ...registry, providers: new Map(registry.providers).set(id, { ...provider, ...change, generation }) };
};

const use = (registry: Registry, allocations: Consumer['allocations'], sign: 1 | -1): Registry =>
  Object.entries(allocations).reduce((result, [id, resources]) => {
    const used: Record<string, number> = { ...result.providers.get(id)?.used };
    for (const [name, amount] of Object.entries(resources)) used[name] = (used[name] ?? 0) + sign * amount;
    return changed(result, id, { used }, false);
  }, registry);

const consume = (registry: Registry, consumer: Consumer | undefined, next: Consumer): Registry => {
  const { allocations: had = {} } = consumer ?? {};
  const settled = use(use(registry, had, -1), next.allocations, 1);
  const touched = new Set([...Object.keys(had), ...Object.keys(next.allocations)]);
  const counted = [...touched].reduce((result, id) => changed(result, id, {}), settled);
  const consumers = new Map(counted.consumers);
  if (Object.keys(next.allocations).length === 0) consumers.delete(next.id);
  else consumers.set(next.id, next);
  return { ...counted, consumers };
};

const renamed = (registry: Registry, from: string, to: string): Registry => ({
  ...registry,
  classes: withItem(without(registry.classes, from), to),
  providers: new Map(
    [...registry.providers].map(([id, provider]) => [id, { ...provider, ...renamedIn(provider, from, to) }]),
  ),
  consumers: new Map(
    [...registry.consumers].map(([id, consumer]) => {
      const allocations = Object.entries(consumer.allocations).map(([p, r]) => [p, keyRenamed(r, from, to)]);
      return [id, { ...consumer, allocations: Object.fromEntries(allocations) }];
    }),
  ),
});
const keyRenamed = <T>(record: Readonly<Record<string, T>>, from: string, to: string): Record<string, T> =>
  Object.fromEntries(Object.entries(record).map(([key, value]) => [key === from ? to : key, value]));
const renamedIn = ({ inventories, used }: RegisteredProvider, from: string, to: string) => ({
  inventories: keyRenamed(inventories, from, to),
  used: keyRenamed(used, from, to),
});

export const evolveRegistry = (registry: Registry, event: ResourceRegistryEvent): Registry => {
  switch (event.type) {
    case 'TraitRegistered':
      return { ...registry, traits: withItem(registry.traits, event.data.name) };
    case 'TraitUnregistered':
      return { ...registry, traits: without(registry.traits, event.data.name) };
    case 'ResourceClassRegistered':
      return { ...registry, classes: withItem(registry.classes, event.data.name) };
    case 'ResourceClassRenamed':
      return renamed(registry, event.data.name, event.data.to);
    case 'ResourceClassUnregistered':
      return { ...registry, classes: without(registry.classes, event.data.name) };
    case 'ResourceProviderRegistered': {
      const { providerId: id, name, parentId } = event.data;
      const fresh = { id, name, parentId, generation: 0, inventories: {}, traits: [], aggregates: [], used: {} };
      return { ...registry, providers: new Map(registry.providers).set(id, fresh) };
    }
    case 'ResourceProviderChanged': {
      const { providerId, name, parentId } = event.data;
      return changed(registry, providerId, { name, parentId }, false);
    }
    case 'ResourceProviderUnregistered': {
      const providers = new Map(registry.providers);
      providers.delete(event.data.providerId);
      return { ...registry, providers };
    }
    case 'ResourceInventorySet':
      return changed(registry, event.data.providerId, { inventories: event.data.inventories });
    case 'ResourceTraitsSet':
      return changed(registry, event.data.providerId, { traits: event.data.traits });
    case 'ResourceAggregatesSet':
      return changed(registry, event.data.providerId, { aggregates: event.data.aggregates }, event.data.counts);
    case 'ConsumerAllocationsSet': {
      const { consumerId: id, projectId, userId, consumerType, allocations } = event.data;
      const had = registry.consumers.get(id);
      const type = consumerType ?? had?.type ?? null;
      const generation = (had?.generation ?? 0) + 1;
      return consume(registry, had, { id, projectId, userId, type, generation, allocations });
    }
    case 'ConsumerAllocationsDeleted': {
      const had = registry.consumers.get(event.data.consumerId);
      if (!had) return registry;
      const consumers = new Map(registry.consumers);
      consumers.delete(had.id);
      return { ...use(registry, had.allocations, -1), consumers };
    }
  }
};
