import {
  type HostId,
  type Inventory,
  type ProjectId,
  type ProviderEvent,
  type ProviderId,
  providerEvents,
  type ResourceAmounts,
  type ServerId,
  type UserId,
} from '@omnivisor/contracts';
import { Map as ImmutableMap } from 'immutable';

export interface Claim {
  readonly serverId: ServerId;
  readonly attempt: number;
  readonly projectId: ProjectId;
  readonly userId: UserId;
  readonly resources: ResourceAmounts;
}

/** A resource provider as its stream tells it. */
export interface Provider {
  readonly exists: boolean;
  readonly id: ProviderId | null;
  readonly name: string;
  readonly hostId: HostId | null;
  readonly inventories: Readonly<Record<string, Inventory>>;
  /** What its host has, and what operators gave it. */
  readonly traits: readonly string[];
  readonly reportedTraits: readonly string[];
  readonly customTraits: readonly string[];
  readonly aggregates: readonly string[];
  /** By `claimKey`. */
  readonly claims: ImmutableMap<string, Claim>;
  readonly used: Readonly<Record<string, number>>;
}

export const noProvider: Provider = {
  exists: false,
  id: null,
  name: '',
  hostId: null,
  inventories: {},
  traits: [],
  reportedTraits: [],
  customTraits: [],
  aggregates: [],
  claims: ImmutableMap(),
  used: {},
};

export const claimKey = (serverId: string, attempt: number): string => `${serverId}/${attempt}`;

const add = (used: Readonly<Record<string, number>>, amounts: ResourceAmounts, sign: 1 | -1) => {
  const sum: Record<string, number> = { ...used };
  for (const [name, amount] of Object.entries(amounts)) sum[name] = (sum[name] ?? 0) + sign * amount;
  return sum;
};

const withTraits = (provider: Provider, reported: readonly string[], custom: readonly string[]): Provider => ({
  ...provider,
  reportedTraits: reported,
  customTraits: custom,
  traits: [...new Set([...reported, ...custom])],
});

export const evolveProvider = (provider: Provider, event: ProviderEvent): Provider => {
  switch (event.type) {
    case 'ProviderCreated': {
      const { providerId: id, name, hostId } = event.data;
      return { ...noProvider, exists: true, id, name, hostId };
    }
    case 'ProviderInventorySet':
      return { ...provider, inventories: event.data.inventories };
    case 'ProviderTraitsSet':
      return withTraits(provider, event.data.traits, provider.customTraits);
    case 'ProviderCustomTraitsSet':
      return withTraits(provider, provider.reportedTraits, event.data.traits);
    case 'ProviderAggregatesSet':
      return { ...provider, aggregates: event.data.aggregates };
    case 'AllocationClaimed': {
      const { serverId, attempt, projectId, userId, resources } = event.data;
      const claim = { serverId, attempt, projectId, userId, resources };
      const claims = provider.claims.set(claimKey(serverId, attempt), claim);
      return { ...provider, claims, used: add(provider.used, resources, 1) };
    }
    case 'AllocationReleased': {
      const key = claimKey(event.data.serverId, event.data.attempt);
      const claim = provider.claims.get(key);
      if (!claim) return provider;
      return { ...provider, claims: provider.claims.delete(key), used: add(provider.used, claim.resources, -1) };
    }
    case 'ProviderRemoved':
      return { ...noProvider, id: provider.id };
  }
};

const types = new Set(Object.keys(providerEvents.events));
export const isProviderEvent = (event: { readonly type: string }): event is ProviderEvent => types.has(event.type);

export const capacityOf = (inventory: Inventory): number =>
  Math.floor((inventory.total - inventory.reserved) * inventory.allocationRatio);

/** Why an amount of one resource does not fit; null when it does. */
export interface Shortage {
  readonly resource: string;
  readonly wanted: number;
  /** What could be had. */
  readonly had: number;
  /** e.g. `VCPU` for capacity, `VCPU max_unit` for a rule of the inventory. */
  readonly constraint: string;
}

interface Stock {
  readonly inventories: Readonly<Record<string, Inventory>>;
  used(resource: string): number;
}

/** The first resource, in the given order, that a stock cannot give. */
export const shortageOf = (resources: ResourceAmounts, stock: Stock): Shortage | null => {
  for (const resource in resources) {
    const wanted = resources[resource]!;
    if (wanted === 0) continue;
    const inventory = stock.inventories[resource];
    if (!inventory) return { resource, wanted, had: 0, constraint: resource };
    const free = Math.max(0, capacityOf(inventory) - stock.used(resource));
    if (wanted > free) return { resource, wanted, had: free, constraint: resource };
    if (wanted > inventory.maxUnit)
      return { resource, wanted, had: inventory.maxUnit, constraint: `${resource} max_unit` };
    if (wanted < inventory.minUnit)
      return { resource, wanted, had: inventory.minUnit, constraint: `${resource} min_unit` };
    if (wanted % inventory.stepSize !== 0)
      return { resource, wanted, had: inventory.stepSize, constraint: `${resource} step_size` };
  }
  return null;
};
