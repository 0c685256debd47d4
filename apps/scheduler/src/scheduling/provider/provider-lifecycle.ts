import {
  conflict,
  type HostId,
  type Inventory,
  notFound,
  type PlacementExplanation,
  type ProviderEvent,
  type ProviderId,
  providerEvents,
  type ServerId,
} from '@omnivisor/contracts';
import type { Aggregate } from '@omnivisor/eventsourcing';
import { type Claim, claimKey, evolveProvider, noProvider, type Provider, shortageOf } from './provider.js';

export type ReleaseReason = 'absent' | 'abandoned' | 'fenced' | 'retired' | 'resized';

export type ProviderCommand =
  | { readonly type: 'create'; readonly providerId: ProviderId; readonly name: string; readonly hostId: HostId }
  | {
      readonly type: 'setInventory';
      readonly providerId: ProviderId;
      readonly inventories: Readonly<Record<string, Inventory>>;
    }
  | { readonly type: 'setTraits'; readonly providerId: ProviderId; readonly traits: readonly string[] }
  | { readonly type: 'setCustomTraits'; readonly providerId: ProviderId; readonly traits: readonly string[] }
  | { readonly type: 'setAggregates'; readonly providerId: ProviderId; readonly aggregates: readonly string[] }
  | {
      readonly type: 'claim';
      readonly providerId: ProviderId;
      readonly claim: Claim;
      readonly explanation: PlacementExplanation;
    }
  | {
      readonly type: 'release';
      readonly providerId: ProviderId;
      readonly serverId: ServerId;
      readonly attempt: number;
      readonly reason: ReleaseReason;
    }
  | { readonly type: 'remove'; readonly providerId: ProviderId };

/** The provider has no room for a claim any more. Another provider may. */
export const NO_ROOM = 'NoRoom';

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);
const sorted = (texts: readonly string[]): string[] => [...new Set(texts)].sort();
const byName = <V>(record: Readonly<Record<string, V>>): Record<string, V> =>
  Object.fromEntries(Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1)));

/** In one order of names and fields, whatever order they came in. */
const ordered = (inventories: Readonly<Record<string, Inventory>>): Record<string, Inventory> =>
  byName(Object.fromEntries(Object.entries(inventories).map(([name, i]) => [name, byName({ ...i }) as typeof i])));

const claim = (command: Extract<ProviderCommand, { type: 'claim' }>, provider: Provider): ProviderEvent[] => {
  const { providerId, claim: wanted, explanation } = command;
  if (provider.claims.has(claimKey(wanted.serverId, wanted.attempt))) return [];
  const shortage = shortageOf(wanted.resources, {
    inventories: provider.inventories,
    used: (r) => provider.used[r] ?? 0,
  });
  if (shortage) {
    const { constraint, wanted: amount, had } = shortage;
    const error = conflict(`the provider has no room: ${constraint} ${amount} wanted, ${had} left`, { ...shortage });
    error.name = NO_ROOM;
    throw error;
  }
  return [{ type: 'AllocationClaimed', data: { providerId, ...wanted, explanation } }];
};

const decide = (command: ProviderCommand, provider: Provider): ProviderEvent[] => {
  const { providerId } = command;
  if (command.type === 'create') {
    if (provider.exists) return [];
    return [{ type: 'ProviderCreated', data: { providerId, name: command.name, hostId: command.hostId } }];
  }
  if (!provider.exists) {
    if (command.type === 'remove' || command.type === 'release') return [];
    throw notFound('no such resource provider');
  }
  switch (command.type) {
    case 'setInventory': {
      const inventories = ordered(command.inventories);
      if (same(inventories, ordered(provider.inventories))) return [];
      return [{ type: 'ProviderInventorySet', data: { providerId, inventories } }];
    }
    case 'setTraits': {
      const traits = sorted(command.traits);
      return same(traits, provider.reportedTraits) ? [] : [{ type: 'ProviderTraitsSet', data: { providerId, traits } }];
    }
    case 'setCustomTraits': {
      // What the host has it has by itself.
      const traits = sorted(command.traits.filter((t) => !provider.reportedTraits.includes(t)));
      if (same(traits, provider.customTraits)) return [];
      return [{ type: 'ProviderCustomTraitsSet', data: { providerId, traits } }];
    }
    case 'setAggregates': {
      const aggregates = sorted(command.aggregates);
      if (same(aggregates, provider.aggregates)) return [];
      return [{ type: 'ProviderAggregatesSet', data: { providerId, aggregates } }];
    }
    case 'claim':
      return claim(command, provider);
    case 'release': {
      const { serverId, attempt, reason } = command;
      if (!provider.claims.has(claimKey(serverId, attempt))) return [];
      return [{ type: 'AllocationReleased', data: { providerId, serverId, attempt, reason } }];
    }
    case 'remove':
      if (provider.claims.size > 0) throw conflict('the resource provider has claims');
      return [{ type: 'ProviderRemoved', data: { providerId } }];
  }
};

export const providerAggregate: Aggregate<Provider, ProviderCommand, ProviderEvent> = {
  events: providerEvents,
  initial: noProvider,
  decide,
  evolve: evolveProvider,
};
