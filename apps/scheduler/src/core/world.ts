import {
  type HostId,
  type Position,
  type ProviderId,
  providerEvents,
  type RecordedEvent,
  type ResourceRegistryEvent,
  type Revision,
  resourceRegistryEvents,
  type ServerEvent,
  type ServerId,
  serverEvents,
} from '@omnivisor/contracts';
import { evolveReader, type FeedReader, isFeedReaderEvent, noReader } from '../feed-reader/feed-reader.js';
import { evolveRegistry, noRegistry, type Registry } from '../registry/registry.js';
import { evolveHost, type Host, isHostEvent, noHost } from '../scheduling/host/host.js';
import { type IndexOrder, PlacementIndex } from '../scheduling/index/placement-index.js';
import {
  claimKey,
  evolveProvider,
  isProviderEvent,
  noProvider,
  type Provider,
} from '../scheduling/provider/provider.js';
import type { ReleaseReason } from '../scheduling/provider/provider-lifecycle.js';
import { type MigrationConsumer, MigrationConsumers } from './migration-consumers.js';
import { isServerGroupEvent, type ServerGroup, ServerGroups } from './server-groups.js';

export interface ProviderView extends Provider {
  /** Revision of the newest event of its stream. */
  readonly revision: number;
  readonly updatedAt: string;
  readonly createdAt: string;
}

/** A claim that has to end, because the log says so. */
export interface Release {
  readonly providerId: ProviderId;
  readonly serverId: ServerId;
  readonly attempt: number;
  readonly reason: ReleaseReason;
  /** The event that ended it. */
  readonly cause: RecordedEvent;
}

interface KnownServer {
  /** Attempts that ended without a guest, or whose guest is gone. */
  readonly ended: Set<number>;
  /** Where the server's own stream says it is. */
  scheduled: { readonly attempt: number; readonly providerId: string } | null;
}

/** A world as plain lists; what they hold never changes. Without what is held for decisions that are not in the log. */
export interface WorldState {
  readonly position: Position;
  readonly index: IndexOrder;
  readonly groups: readonly (readonly [string, ServerGroup])[];
  readonly migrations: readonly (readonly [ServerId, MigrationConsumer])[];
  readonly hosts: readonly (readonly [string, Host])[];
  readonly providers: readonly (readonly [string, ProviderView])[];
  readonly readers: readonly (readonly [string, FeedReader])[];
  readonly retiredKeys: readonly string[];
  readonly registry: Registry;
  readonly registeredAt: readonly (readonly [string, string])[];
  readonly claims: readonly (readonly [serverId: string, claims: readonly (readonly [string, LiveClaim])[]])[];
  readonly releases: readonly (readonly [string, Release])[];
  readonly servers: readonly (readonly [string, ended: readonly number[], scheduled: KnownServer['scheduled']])[];
  readonly hostOfProvider: readonly (readonly [string, HostId])[];
  readonly newest: readonly (readonly [string, Position])[];
}

interface LiveClaim {
  readonly providerId: ProviderId;
  readonly attempt: number;
}

const registryTypes = new Set(Object.keys(resourceRegistryEvents.events));
const isRegistryEvent = (event: { readonly type: string }): event is ResourceRegistryEvent =>
  registryTypes.has(event.type);

const PROVIDERS = `${providerEvents.stream}-`;
const serverTypes = new Set(Object.keys(serverEvents.events));
const isServerEvent = (event: { readonly type: string }): event is ServerEvent => serverTypes.has(event.type);

/** All that the scheduler knows, as a fold of the log. */
export class World {
  position: Position = 0;
  readonly index = new PlacementIndex();
  readonly groups = new ServerGroups();
  readonly migrations = new MigrationConsumers();
  readonly hosts = new Map<string, Host>();
  readonly providers = new Map<string, ProviderView>();
  /** By name. */
  readonly readers = new Map<string, FeedReader>();
  /** Keys of hosts that have left for good, and of readers that were revoked. */
  readonly retiredKeys = new Set<string>();
  /** What clients of Placement registered, and when each provider of theirs changed. */
  registry: Registry = noRegistry;
  readonly registeredAt = new Map<string, string>();
  /** Live claims by server, then by `provider`. */
  readonly claims = new Map<string, Map<string, LiveClaim>>();
  /** Claims to release, by provider, server and attempt. */
  readonly releases = new Map<string, Release>();
  private readonly servers = new Map<string, KnownServer>();
  private readonly hostOfProvider = new Map<string, HostId>();
  private readonly holds = new Map<string, { hostId: HostId; serverId: string }>();
  private readonly holdsOf = new Map<string, Set<string>>();
  /** By provider. */
  private readonly newest = new Map<string, Position>();

  apply(event: RecordedEvent): void {
    this.position = event.position;
    if (isProviderEvent(event)) this.applyProvider(event);
    else if (isHostEvent(event)) this.applyHost(event);
    else if (isServerEvent(event)) {
      this.migrations.apply(event);
      this.applyServer(event as RecordedEvent & ServerEvent);
    } else if (isServerGroupEvent(event)) this.groups.apply(event);
    else if (isRegistryEvent(event)) this.applyRegistry(event);
    else if (isFeedReaderEvent(event)) this.applyReader(event);
  }

  get state(): WorldState {
    return {
      position: this.position,
      index: this.index.order,
      groups: [...this.groups.entries()],
      migrations: [...this.migrations.entries()],
      hosts: [...this.hosts],
      providers: [...this.providers],
      readers: [...this.readers],
      retiredKeys: [...this.retiredKeys],
      registry: this.registry,
      registeredAt: [...this.registeredAt],
      claims: [...this.claims].map(([id, claims]) => [id, [...claims]]),
      releases: [...this.releases],
      servers: [...this.servers].map(([id, { ended, scheduled }]) => [id, [...ended], scheduled]),
      hostOfProvider: [...this.hostOfProvider],
      newest: [...this.newest],
    };
  }

  /** Takes over what another world knew; this one must not have begun. */
  restore(state: WorldState): void {
    const fill = <T>(map: Map<string, T>, entries: Iterable<readonly [string, T]>) => {
      for (const [key, value] of entries) map.set(key, value);
    };
    for (const [id, group] of state.groups) this.groups.put(id, group);
    for (const [id, migration] of state.migrations) this.migrations.put(id, migration);
    fill(this.hosts, state.hosts);
    fill(this.providers, state.providers);
    fill(this.readers, state.readers);
    for (const key of state.retiredKeys) this.retiredKeys.add(key);
    this.registry = state.registry;
    fill(this.registeredAt, state.registeredAt);
    for (const [id, claims] of state.claims) this.claims.set(id, new Map(claims));
    fill(this.releases, state.releases);
    for (const [id, ended, scheduled] of state.servers) this.servers.set(id, { ended: new Set(ended), scheduled });
    fill(this.hostOfProvider, state.hostOfProvider);
    fill(this.newest, state.newest);
    this.index.restore(state.index, (id) => {
      const host = this.hosts.get(id)!;
      this.index.put(host, this.providers.get(host.providerId!));
    });
    this.position = state.position;
  }

  hostByName(name: string): Host | undefined {
    for (const host of this.hosts.values()) if (host.name === name && !host.retired) return host;
    return undefined;
  }

  /** Position of the newest event of a server that the provider has, or has claims of; 0 when there is none. */
  changedAt(providerId: string): Position {
    return this.newest.get(providerId) ?? 0;
  }

  /** True while the log has a server that wants this attempt. */
  wants(serverId: string, attempt: number): boolean {
    const server = this.servers.get(serverId);
    return server !== undefined && !server.ended.has(attempt);
  }

  claimOf(serverId: string, attempt: number): ProviderId | undefined {
    for (const claim of this.claims.get(serverId)?.values() ?? [])
      if (claim.attempt === attempt) return claim.providerId;
    return undefined;
  }

  /** Hosts where a server has claims, or is about to. */
  hostsOf(serverId: string): HostId[] {
    const claimed = [...(this.claims.get(serverId)?.values() ?? [])];
    const held = [...(this.holdsOf.get(serverId) ?? [])].flatMap((key) => this.holds.get(key)?.hostId ?? []);
    return [...claimed.flatMap((c) => this.hostOfProvider.get(c.providerId) ?? []), ...held];
  }

  hostOf(providerId: string): Host | undefined {
    const id = this.hostOfProvider.get(providerId);
    return id && this.hosts.get(id);
  }

  /** A provider's stream as it is folded here; undefined for other streams. */
  providerOf(stream: string): { readonly state: Provider; readonly revision: Revision } | undefined {
    const state = stream.startsWith(PROVIDERS) ? this.providers.get(stream.slice(PROVIDERS.length)) : undefined;
    return state && { state, revision: state.revision };
  }

  /** Takes room for a decision until its event is folded or it is dropped. */
  hold(hostId: HostId, serverId: string, attempt: number, resources: Readonly<Record<string, number>>): void {
    const key = claimKey(serverId, attempt);
    this.holds.set(key, { hostId, serverId });
    this.holdsOf.set(serverId, (this.holdsOf.get(serverId) ?? new Set()).add(key));
    this.index.hold(hostId, key, resources);
  }

  /** Provider of a claim that is in the log, but not folded yet. */
  heldOf(key: string): ProviderId | undefined {
    const hold = this.holds.get(key);
    return (hold && this.hosts.get(hold.hostId)?.providerId) ?? undefined;
  }

  unhold(key: string): void {
    const hold = this.holds.get(key);
    if (!hold) return;
    this.holds.delete(key);
    const others = this.holdsOf.get(hold.serverId);
    others?.delete(key);
    if (others?.size === 0) this.holdsOf.delete(hold.serverId);
    this.index.unhold(hold.hostId, key);
  }

  private applyHost(event: Parameters<typeof evolveHost>[1] & RecordedEvent): void {
    const { hostId } = event.data;
    const host = evolveHost(this.hosts.get(hostId) ?? noHost, event);
    this.hosts.set(hostId, host);
    if (event.type === 'HostRetired') this.retiredKeys.add(host.publicKey);
    if (event.type === 'HostEnrolled') this.hostOfProvider.set(event.data.providerId, hostId);
    const provider = host.providerId && this.providers.get(host.providerId);
    this.index.put(host, provider || undefined);
    if (event.type === 'HostFenced' || event.type === 'HostRetired') {
      const reason = event.type === 'HostFenced' ? 'fenced' : 'retired';
      for (const claim of provider ? provider.claims.values() : [])
        this.release(host.providerId!, claim.serverId, claim.attempt, reason, event);
    }
  }

  private applyProvider(event: Parameters<typeof evolveProvider>[1] & RecordedEvent): void {
    const { providerId } = event.data;
    const before = this.providers.get(providerId);
    const provider: ProviderView = {
      ...evolveProvider(before ?? noProvider, event),
      revision: event.revision,
      createdAt: before?.createdAt ?? event.recordedAt,
      updatedAt: event.recordedAt,
    };
    this.providers.set(providerId, provider);
    if (event.type === 'ProviderCreated') this.hostOfProvider.set(providerId, event.data.hostId);
    if (event.type === 'AllocationClaimed') this.claimed(event);
    if (event.type === 'AllocationReleased') this.released(event.data);
    const host = this.hostOf(providerId);
    if (host) this.index.put(host, provider);
  }

  private claimed(event: Extract<Parameters<typeof evolveProvider>[1], { type: 'AllocationClaimed' }> & RecordedEvent) {
    const { providerId, serverId, attempt } = event.data;
    const key = claimKey(serverId, attempt);
    this.unhold(key);
    const claims = this.claims.get(serverId) ?? new Map();
    claims.set(`${providerId}/${attempt}`, { providerId, attempt });
    this.claims.set(serverId, claims);
    const server = this.servers.get(serverId);
    const other = server?.scheduled?.attempt === attempt && server.scheduled.providerId !== providerId;
    if (!this.wants(serverId, attempt) || other) this.release(providerId, serverId, attempt, 'abandoned', event);
    else if (this.hostOf(providerId)?.retired) this.release(providerId, serverId, attempt, 'retired', event);
  }

  private released({ providerId, serverId, attempt }: { providerId: string; serverId: string; attempt: number }): void {
    this.releases.delete(`${providerId}/${claimKey(serverId, attempt)}`);
    const claims = this.claims.get(serverId);
    claims?.delete(`${providerId}/${attempt}`);
    if (claims?.size === 0) this.claims.delete(serverId);
  }

  private applyReader(event: Parameters<typeof evolveReader>[1]): void {
    const { name, publicKey } = event.data;
    this.readers.set(name, evolveReader(this.readers.get(name) ?? noReader, event));
    if (event.type === 'FeedReaderRevoked') this.retiredKeys.add(publicKey);
  }

  private applyRegistry(event: ResourceRegistryEvent & RecordedEvent): void {
    this.registry = evolveRegistry(this.registry, event);
    if ('providerId' in event.data) this.registeredAt.set(event.data.providerId, event.recordedAt);
    if (event.type !== 'ConsumerAllocationsSet') return;
    for (const id of Object.keys(event.data.allocations)) this.registeredAt.set(id, event.recordedAt);
    this.registeredAt.set(event.data.consumerId, event.recordedAt);
  }

  private applyServer(event: ServerEvent & RecordedEvent): void {
    const { serverId } = event.data;
    const isPlaced = event.type === 'ServerScheduled' || event.type === 'ServerMigrationScheduled';
    const placed = isPlaced ? event.data : this.servers.get(serverId)?.scheduled;
    if (placed) this.newest.set(placed.providerId, event.position);
    for (const { providerId } of this.claims.get(serverId)?.values() ?? []) this.newest.set(providerId, event.position);
    switch (event.type) {
      case 'ServerCreateRequested':
      case 'ServerAdoptionRequested':
        this.servers.set(serverId, { ended: new Set(), scheduled: null });
        return;
      case 'ServerScheduled':
      case 'ServerMigrationScheduled': {
        const { attempt, providerId } = event.data;
        const server = this.servers.get(serverId);
        if (server) server.scheduled = { attempt, providerId };
        for (const claim of this.claims.get(serverId)?.values() ?? [])
          if (claim.attempt === attempt && claim.providerId !== providerId)
            this.release(claim.providerId, serverId, attempt, 'abandoned', event);
        return;
      }
      case 'ServerAttemptAbandoned':
        this.end(serverId, event.data.attempt, 'abandoned', event);
        return;
      case 'ServerGuestAbsent':
        for (const attempt of event.data.claims ?? [event.data.attempt])
          this.end(serverId, attempt, 'absent', event, event.data.host);
        return;
      case 'ServerResizeConfirmed':
      case 'ServerResizeReverted':
        this.end(serverId, event.data.released, 'resized', event, event.data.host);
        return;
      case 'ServerSpawnFailed':
        this.end(serverId, event.data.attempt, 'absent', event, event.data.host);
        return;
      case 'ServerCreateAbandoned':
      case 'ServerResourcesReleased':
        // A claim that is left goes when its host confirms that the guest is gone.
        this.servers.delete(serverId);
        return;
      default:
        return;
    }
  }

  private end(serverId: ServerId, attempt: number, reason: ReleaseReason, event: RecordedEvent, host?: string): void {
    this.servers.get(serverId)?.ended.add(attempt);
    for (const claim of this.claims.get(serverId)?.values() ?? [])
      if (claim.attempt === attempt && (host === undefined || this.hostOfProvider.get(claim.providerId) === host))
        this.release(claim.providerId, serverId, attempt, reason, event);
  }

  private release(
    providerId: ProviderId,
    serverId: ServerId,
    attempt: number,
    reason: ReleaseReason,
    cause: RecordedEvent,
  ): void {
    const key = `${providerId}/${claimKey(serverId, attempt)}`;
    if (!this.releases.has(key)) this.releases.set(key, { providerId, serverId, attempt, reason, cause });
  }
}
