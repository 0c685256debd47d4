import {
  conflict,
  DomainError,
  type Inventory,
  invalid,
  notFound,
  type ProviderId,
  type ResourceAmounts,
  type ResourceRegistryEvent,
  resourceRegistryEvents,
} from '@omnivisor/contracts';
import type { Aggregate } from '@omnivisor/eventsourcing';
import { capacityOf } from '../scheduling/provider/provider.js';
import { evolveRegistry, noRegistry, type RegisteredProvider, type Registry } from './registry.js';

/** The one stream of the registry. */
export const REGISTRY = 'cloud';

/** What a decision has to know of the rest of the cloud. */
export interface Surroundings {
  /** Names of the providers that hosts have, by id. */
  readonly hosts: ReadonlyMap<string, string>;
  readonly standardTraits: ReadonlySet<string>;
  readonly standardClasses: ReadonlySet<string>;
  /** Traits that hosts have. */
  readonly hostTraits: ReadonlySet<string>;
  /** Servers that hold claims on hosts. */
  readonly servers: { has(id: string): boolean };
}

/** What one consumer shall have; nothing at all ends it. */
export interface WantedAllocations {
  readonly consumerId: string;
  readonly projectId: string;
  readonly userId: string;
  readonly consumerType: string | null;
  /** What the client builds on; null: that there is no such consumer. Undefined before clients had to say. */
  readonly generation: number | null | undefined;
  readonly allocations: Readonly<Record<string, ResourceAmounts>>;
}

type Of<P = unknown> = { readonly providerId: string; readonly generation: number | undefined } & P;

export type RegistryChange =
  | { readonly type: 'registerTrait' | 'unregisterTrait'; readonly name: string }
  | { readonly type: 'unregisterClass'; readonly name: string }
  | {
      readonly type: 'registerClass';
      readonly name: string;
      /** Whether it is fine when there is one of that name: for PUT, not for POST. */
      readonly orHave: boolean;
    }
  | { readonly type: 'renameClass'; readonly name: string; readonly to: string }
  | { readonly type: 'registerProvider'; readonly id: string; readonly name: string; readonly parentId: string | null }
  | {
      readonly type: 'changeProvider';
      readonly id: string;
      readonly name: string;
      /** Undefined leaves it. */
      readonly parentId: string | null | undefined;
      /** Whether a parent, once given, may be changed: from microversion 1.37 on. */
      readonly moves: boolean;
    }
  | { readonly type: 'unregisterProvider'; readonly id: string }
  | ({ readonly type: 'setInventories' } & Of<{
      readonly inventories: Readonly<Record<string, Inventory>>;
      /** Whether all of an inventory may be reserved: from microversion 1.26 on. */
      readonly mayBeEmpty: boolean;
      readonly verb: 'create' | 'update';
    }>)
  | ({ readonly type: 'setTraits' } & Of<{ readonly traits: readonly string[] }>)
  | ({ readonly type: 'setAggregates' } & Of<{ readonly aggregates: readonly string[]; readonly counts: boolean }>)
  | { readonly type: 'allocate'; readonly wanted: readonly WantedAllocations[] }
  | {
      /** Moves what is consumed along with the inventories it is consumed of. */
      readonly type: 'reshape';
      readonly inventories: readonly Of<{ readonly inventories: Readonly<Record<string, Inventory>> }>[];
      readonly wanted: readonly WantedAllocations[];
    }
  | { readonly type: 'deleteAllocations'; readonly consumerId: string };

export type RegistryCommand = { readonly around: Surroundings } & RegistryChange;
type Command<T extends RegistryCommand['type']> = Extract<RegistryCommand, { type: T }>;

const coded = (kind: 'conflict' | 'invalid', message: string, code: string) =>
  new DomainError(kind, message, { details: { code } });
/** The client builds on what is no longer so. */
export const outdated = (
  message = "Resource provider's generation already changed. Please update the generation and try again.",
) => coded('conflict', message, 'placement.concurrent_update');

/** What a compute host has it says itself. */
export const OF_HOST = 'its inventory is what the host reports.';

export const noProvider = (id: string) => notFound(`No resource provider with uuid ${id} found`);

const providerOf = (registry: Registry, id: string) => {
  const provider = registry.providers.get(id);
  if (!provider) throw noProvider(id);
  return provider;
};

/** The provider, if it stands where the client thinks. */
const current = (registry: Registry, { providerId, generation }: Of) => {
  const provider = providerOf(registry, providerId);
  if (generation !== undefined && provider.generation !== generation) throw outdated();
  return provider;
};

const ancestors = (registry: Registry, id: string | null): string[] => {
  const found: string[] = [];
  for (let at = id; at !== null && !found.includes(at); at = registry.providers.get(at)?.parentId ?? null)
    found.push(at);
  return found;
};

const checkName = (registry: Registry, around: Surroundings, name: string, own: string): void => {
  const taken =
    [...registry.providers.values()].some((p) => p.name === name && p.id !== own) ||
    [...around.hosts.values()].includes(name);
  if (taken)
    throw coded('conflict', `Conflicting resource provider name: ${name} already exists.`, 'placement.duplicate_name');
};

const registerProvider = ({ id, name, parentId, around }: Command<'registerProvider'>, registry: Registry) => {
  if (registry.providers.has(id) || around.hosts.has(id))
    throw coded('conflict', `Conflicting resource provider uuid: ${id} already exists.`, 'placement.duplicate_name');
  checkName(registry, around, name, id);
  const cannot = (reason: string) =>
    invalid(`Unable to create resource provider "${name}", ${id}: Object action create failed because: ${reason}`);
  if (parentId === id)
    throw cannot(
      'parent provider UUID cannot be same as UUID. Please set parent provider UUID to None if there is no parent.',
    );
  if (parentId !== null && !registry.providers.has(parentId) && !around.hosts.has(parentId))
    throw cannot('parent provider UUID does not exist.');
  return [
    {
      type: 'ResourceProviderRegistered' as const,
      data: { providerId: id as ProviderId, name, parentId: parentId as ProviderId | null },
    },
  ];
};

const changeProvider = (command: Command<'changeProvider'>, registry: Registry): ResourceRegistryEvent[] => {
  const { id, name, moves, around } = command;
  const provider = providerOf(registry, id);
  checkName(registry, around, name, id);
  const parentId = command.parentId === undefined ? provider.parentId : command.parentId;
  const cannot = (reason: string) =>
    invalid(`Unable to save resource provider ${id}: Object action update failed because: ${reason}`);
  if (parentId !== provider.parentId) {
    if (provider.parentId !== null && !moves)
      throw cannot(
        parentId === null
          ? 'un-parenting a provider is not currently allowed.'
          : 're-parenting a provider is not currently allowed.',
      );
    if (parentId !== null && !registry.providers.has(parentId) && !around.hosts.has(parentId))
      throw cannot('parent provider UUID does not exist.');
    if (ancestors(registry, parentId).includes(id)) throw cannot('creating loop in the provider tree is not allowed.');
  }
  if (name === provider.name && parentId === provider.parentId) return [];
  const data = { providerId: id as ProviderId, name, parentId: parentId as ProviderId | null };
  return [{ type: 'ResourceProviderChanged', data }];
};

const unregisterProvider = ({ id }: Command<'unregisterProvider'>, registry: Registry): ResourceRegistryEvent[] => {
  if (!registry.providers.has(id)) throw notFound(`No resource provider with uuid ${id} found for delete`);
  if ([...registry.providers.values()].some((p) => p.parentId === id))
    throw coded(
      'conflict',
      `Unable to delete parent resource provider ${id}: It has child resource providers.`,
      'placement.resource_provider.cannot_delete_parent',
    );
  if ([...registry.consumers.values()].some((c) => id in c.allocations))
    throw coded(
      'conflict',
      `Unable to delete resource provider ${id}: Resource provider has allocations.`,
      'placement.resource_provider.inuse',
    );
  return [{ type: 'ResourceProviderUnregistered', data: { providerId: id as ProviderId } }];
};

const isClass = (registry: Registry, around: Surroundings, name: string): boolean =>
  around.standardClasses.has(name) || registry.classes.has(name);

const inUse = (id: string, classes: readonly string[]) =>
  coded(
    'conflict',
    `update conflict: Inventory for '${classes.join(', ')}' on resource provider '${id}' in use.`,
    'placement.inventory.inuse',
  );

/** Classes that are consumed of a provider that does not offer them. */
const missing = ({ inventories, used }: Pick<RegisteredProvider, 'inventories' | 'used'>): string[] =>
  Object.keys(used).filter((name) => used[name] && !(name in inventories));

const checkClasses = (registry: Registry, around: Surroundings, id: string, inventories: object): void => {
  for (const name of Object.keys(inventories))
    if (!isClass(registry, around, name))
      throw invalid(`Unknown resource class in inventory for resource provider ${id}: No such resource class ${name}.`);
};

const inventorySet = (id: string, inventories: Readonly<Record<string, Inventory>>): ResourceRegistryEvent => ({
  type: 'ResourceInventorySet',
  data: { providerId: id as ProviderId, inventories: { ...inventories } },
});

const setInventories = (command: Command<'setInventories'>, registry: Registry): ResourceRegistryEvent[] => {
  const { providerId: id, inventories, mayBeEmpty, verb, around } = command;
  const { used } = current(registry, command);
  checkClasses(registry, around, id, inventories);
  for (const [name, inventory] of Object.entries(inventories))
    if (capacityOf(inventory) < (mayBeEmpty ? 0 : 1))
      throw invalid(
        `Unable to ${verb} inventory for resource provider ${id}: Invalid inventory for '${name}' on resource provider '${id}'. The reserved value is greater than ${mayBeEmpty ? '' : 'or equal to '}total.`,
      );
  const gone = missing({ inventories, used });
  if (gone.length > 0) throw inUse(id, gone);
  return [inventorySet(id, inventories)];
};

const reshape = (command: Command<'reshape'>, registry: Registry): ResourceRegistryEvent[] => {
  const { inventories, wanted, around } = command;
  const events = inventories.map((wish) => {
    const { providerId: id } = wish;
    if (around.hosts.has(id)) throw conflict(`Resource provider ${id} is a compute host: ${OF_HOST}`);
    if (!registry.providers.has(id))
      throw coded(
        'invalid',
        `Resource provider ${id} in inventories not found: ${noProvider(id).message}`,
        'placement.resource_provider.not_found',
      );
    current(registry, wish);
    checkClasses(registry, around, id, wish.inventories);
    return inventorySet(id, wish.inventories);
  });
  const reshaped = events.reduce(evolveRegistry, registry);
  events.push(...allocate({ type: 'allocate', wanted, around }, reshaped));
  const state = events.reduce(evolveRegistry, registry);
  for (const { providerId } of inventories) {
    const gone = missing(state.providers.get(providerId)!);
    if (gone.length > 0) throw inUse(providerId, gone);
  }
  return events;
};

const setTraits = (command: Command<'setTraits'>, registry: Registry): ResourceRegistryEvent[] => {
  const { providerId: id, around } = command;
  const provider = current(registry, command);
  const traits = [...new Set(command.traits)].sort();
  const unknown = traits.filter((t) => !isTrait(registry, around, t));
  if (unknown.length > 0) throw invalid(`No such trait ${unknown.join(', ')}`);
  if (JSON.stringify(traits) === JSON.stringify(provider.traits)) return [];
  return [{ type: 'ResourceTraitsSet', data: { providerId: id as ProviderId, traits } }];
};

export const isTrait = (registry: Registry, around: Surroundings, name: string): boolean =>
  around.standardTraits.has(name) || around.hostTraits.has(name) || registry.traits.has(name);

const setAggregates = (command: Command<'setAggregates'>, registry: Registry): ResourceRegistryEvent[] => {
  const { providerId: id, counts } = command;
  current(registry, command);
  const aggregates = [...new Set(command.aggregates)];
  return [{ type: 'ResourceAggregatesSet', data: { providerId: id as ProviderId, aggregates, counts } }];
};

/** Why a provider cannot give this much more of a class; null when it can. */
const shortage = (registry: Registry, id: string, name: string, amount: number): string | null => {
  const provider = registry.providers.get(id)!;
  const inventory = provider.inventories[name];
  if (!inventory) return `Inventory for '${name}' on resource provider '${id}' invalid.`;
  const { minUnit, maxUnit, stepSize } = inventory;
  if (amount < minUnit || amount > maxUnit || amount % stepSize !== 0)
    return `Unable to create allocation for '${name}' on resource provider '${id}'. The requested amount would violate inventory constraints.`;
  if ((provider.used[name] ?? 0) + amount > capacityOf(inventory))
    return `Unable to create allocation for '${name}' on resource provider '${id}'. The requested amount would exceed the capacity.`;
  return null;
};

const refuseServer = (around: Surroundings, id: string): void => {
  if (around.servers.has(id))
    throw conflict(`Consumer ${id} is a server: what it takes of its host ends when its guest is gone.`);
};

const allocate = ({ wanted, around }: Command<'allocate'>, registry: Registry): ResourceRegistryEvent[] => {
  for (const { consumerId, generation, allocations } of wanted) {
    refuseServer(around, consumerId);
    const expected = registry.consumers.get(consumerId)?.generation ?? null;
    if (generation !== undefined && generation !== expected)
      throw outdated(`consumer generation conflict - expected ${expected ?? 'null'} but got ${generation ?? 'None'}`);
    for (const [id, resources] of Object.entries(allocations)) {
      if (around.hosts.has(id))
        throw conflict(
          `Unable to allocate inventory: resource provider '${id}' is a compute host, whose resources the scheduler claims for servers.`,
        );
      if (!registry.providers.has(id)) throw invalid(`Allocation for resource provider '${id}' that does not exist.`);
      const unknown = Object.keys(resources).find((name) => !isClass(registry, around, name));
      if (unknown !== undefined)
        throw invalid(`Unable to allocate inventory for consumer ${consumerId}: No such resource class ${unknown}.`);
    }
  }
  // All that these consumers have is free for what they want now.
  let state = wanted.reduce<Registry>(
    (result, { consumerId }) => evolveRegistry(result, { type: 'ConsumerAllocationsDeleted', data: { consumerId } }),
    registry,
  );
  const events: ResourceRegistryEvent[] = [];
  for (const { consumerId, projectId, userId, consumerType, allocations } of wanted) {
    for (const [id, resources] of Object.entries(allocations))
      for (const [name, amount] of Object.entries(resources)) {
        const why = shortage(state, id, name, amount);
        if (why) throw conflict(`Unable to allocate inventory: ${why}`);
      }
    const event: ResourceRegistryEvent = {
      type: 'ConsumerAllocationsSet',
      data: { consumerId, projectId, userId, consumerType, allocations: { ...allocations } },
    };
    state = evolveRegistry(state, event);
    if (Object.keys(allocations).length > 0 || registry.consumers.has(consumerId)) events.push(event);
  }
  return events;
};

const decide = (command: RegistryCommand, registry: Registry): ResourceRegistryEvent[] => {
  const { around } = command;
  switch (command.type) {
    case 'registerTrait': {
      const { name } = command;
      return isTrait(registry, around, name) ? [] : [{ type: 'TraitRegistered', data: { name } }];
    }
    case 'unregisterTrait': {
      const { name } = command;
      if (around.standardTraits.has(name)) throw invalid(`Cannot delete standard trait ${name}.`);
      const used = [...registry.providers.values()].some((p) => p.traits.includes(name)) || around.hostTraits.has(name);
      if (used) throw conflict(`The trait ${name} is in use by a resource provider.`);
      if (!registry.traits.has(name)) throw notFound(`No such trait(s): ${name}.`);
      return [{ type: 'TraitUnregistered', data: { name } }];
    }
    case 'registerClass': {
      const { name, orHave } = command;
      const had = isClass(registry, around, name);
      if (had && !orHave) throw conflict(`Conflicting resource class already exists: ${name}`);
      return had ? [] : [{ type: 'ResourceClassRegistered', data: { name } }];
    }
    case 'renameClass': {
      const { name, to } = command;
      if (around.standardClasses.has(name)) throw invalid(`Cannot update standard resource class ${name}`);
      if (!registry.classes.has(name)) throw notFound(`No such resource class ${name}.`);
      if (name === to) return [];
      if (isClass(registry, around, to)) throw conflict(`Resource class already exists: ${to}`);
      return [{ type: 'ResourceClassRenamed', data: { name, to } }];
    }
    case 'unregisterClass': {
      const { name } = command;
      const cannot = (reason: string) => `Error in delete resource class: ${reason}`;
      if (around.standardClasses.has(name)) throw invalid(cannot(`Cannot delete standard resource class ${name}.`));
      if (!registry.classes.has(name)) throw notFound(`No such resource class ${name}.`);
      if ([...registry.providers.values()].some((p) => name in p.inventories))
        throw conflict(cannot(`Cannot delete resource class ${name}. Class is in use in inventory.`));
      return [{ type: 'ResourceClassUnregistered', data: { name } }];
    }
    case 'registerProvider':
      return registerProvider(command, registry);
    case 'changeProvider':
      return changeProvider(command, registry);
    case 'unregisterProvider':
      return unregisterProvider(command, registry);
    case 'setInventories':
      return setInventories(command, registry);
    case 'setTraits':
      return setTraits(command, registry);
    case 'setAggregates':
      return setAggregates(command, registry);
    case 'allocate':
      return allocate(command, registry);
    case 'reshape':
      return reshape(command, registry);
    case 'deleteAllocations': {
      const { consumerId } = command;
      refuseServer(around, consumerId);
      if (!registry.consumers.has(consumerId)) throw notFound(`No allocations for consumer '${consumerId}'`);
      return [{ type: 'ConsumerAllocationsDeleted', data: { consumerId } }];
    }
  }
};

/** The rules of the registry. */
export const registryAggregate: Aggregate<Registry, RegistryCommand, ResourceRegistryEvent> = {
  events: resourceRegistryEvents,
  initial: noRegistry,
  decide,
  evolve: evolveRegistry,
};
