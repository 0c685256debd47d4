import { type Inventory, notFound, type ResourceAmounts } from '@omnivisor/contracts';
import type { ProviderView, World } from '../core/world.js';
import { type Claim, claimKey } from '../scheduling/provider/provider.js';

/** A resource provider as Placement shows it: that of a host, or one that a client registered. */
export interface PlacementProvider {
  readonly id: string;
  readonly name: string;
  readonly generation: number;
  readonly parentId: string | null;
  readonly rootId: string;
  readonly inventories: Readonly<Record<string, Inventory>>;
  readonly traits: readonly string[];
  readonly aggregates: readonly string[];
  readonly used: Readonly<Record<string, number>>;
  readonly updatedAt: string;
  /** Of a compute host, which says itself what it offers. */
  readonly isHost: boolean;
}

/** What one consumer takes of one provider. */
export interface Allocation {
  readonly consumerId: string;
  readonly provider: PlacementProvider;
  readonly resources: ResourceAmounts;
  readonly projectId: string;
  readonly userId: string;
  readonly generation: number;
  /** Null where nobody said. */
  readonly type: string | null;
  readonly updatedAt: string;
}

/** Nova's names for the types of its consumers. */
const SERVER = 'INSTANCE';
const MIGRATION = 'MIGRATION';
/** The type of consumers whose client did not say. */
export const UNKNOWN_TYPE = 'unknown';

/** A view of a host's provider is another object once anything of it has changed. */
const shown = new WeakMap<ProviderView, PlacementProvider>();
const ofHost = (view: ProviderView, id: string): PlacementProvider => {
  const known = shown.get(view);
  if (known) return known;
  const { name, revision: generation, inventories, traits, aggregates, used, updatedAt } = view;
  const tree = { parentId: null, rootId: id, isHost: true };
  const provider = { id, name, generation, inventories, traits, aggregates, used, updatedAt, ...tree };
  shown.set(view, provider);
  return provider;
};

/** Every provider of the world, in the order they came. */
export const providersOf = (world: World): Map<string, PlacementProvider> => {
  const found = new Map<string, PlacementProvider>();
  for (const p of world.providers.values()) if (p.exists && p.id) found.set(p.id, ofHost(p, p.id));
  const { providers } = world.registry;
  // A host may be gone from above a provider that somebody registered below it.
  const parentOf = (id: string): string | null => {
    const parent = providers.get(id)?.parentId ?? null;
    return parent !== null && (providers.has(parent) || found.has(parent)) ? parent : null;
  };
  const rootOf = (id: string): string => {
    let at = id;
    for (let up = parentOf(at); up !== null; up = parentOf(at)) at = up;
    return at;
  };
  for (const p of providers.values()) {
    const updatedAt = world.registeredAt.get(p.id) ?? '';
    found.set(p.id, { ...p, parentId: parentOf(p.id), rootId: rootOf(p.id), updatedAt, isHost: false });
  }
  return found;
};

const UUID = /^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$/i;
/** With or without dashes, in either case. @returns undefined for what is none */
export const uuidOf = (text: string): string | undefined => {
  if (!UUID.test(text)) return undefined;
  const hex = text.replaceAll('-', '').toLowerCase();
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
};

/** @throws DomainError `notFound` */
export const providerIn = (world: World, uuid: string): PlacementProvider => {
  const provider = providersOf(world).get(uuidOf(uuid) ?? '');
  if (!provider) throw notFound(`No resource provider with uuid ${uuid} found`);
  return provider;
};

const allocationOf = (
  world: World,
  provider: PlacementProvider,
  { updatedAt }: ProviderView,
  { serverId, attempt, projectId, userId, resources }: Claim,
): Allocation => {
  const isClaimed = (other: number) => world.claimOf(serverId, other) !== undefined;
  const migration = world.migrations.consumerOf(serverId, attempt, isClaimed);
  const consumer = { consumerId: migration ?? serverId, type: migration === undefined ? SERVER : MIGRATION };
  return { ...consumer, provider, resources, projectId, userId, generation: attempt, updatedAt };
};

const ofHosts = function* (world: World, providers: Map<string, PlacementProvider>): Iterable<Allocation> {
  for (const [id, view] of world.providers) {
    const provider = providers.get(id);
    if (!provider) continue;
    for (const claim of view.claims.values()) yield allocationOf(world, provider, view, claim);
  }
};

const ofRegistry = function* (world: World, providers: Map<string, PlacementProvider>): Iterable<Allocation> {
  for (const { id: consumerId, allocations, ...rest } of world.registry.consumers.values())
    for (const [id, resources] of Object.entries(allocations)) {
      const provider = providers.get(id);
      if (provider)
        yield { consumerId, provider, resources, ...rest, updatedAt: world.registeredAt.get(consumerId) ?? '' };
    }
};

/** Every allocation of every consumer. */
export const allocationsIn = function* (world: World): Iterable<Allocation> {
  const providers = providersOf(world);
  yield* ofHosts(world, providers);
  yield* ofRegistry(world, providers);
};

export const allocationsOf = (world: World, consumerId: string): Allocation[] => {
  const providers = providersOf(world);
  const serverId = world.migrations.serverOf(consumerId) ?? consumerId;
  const claims = [...(world.claims.get(serverId)?.values() ?? [])].flatMap(({ providerId, attempt }) => {
    const [provider, view] = [providers.get(providerId), world.providers.get(providerId)];
    const claim = view?.claims.get(claimKey(serverId, attempt));
    const allocation = provider && view && claim && allocationOf(world, provider, view, claim);
    return allocation?.consumerId === consumerId ? [allocation] : [];
  });
  return [...claims, ...[...ofRegistry(world, providers)].filter((a) => a.consumerId === consumerId)];
};
