import {
  type HostId,
  type Inventory,
  invalid,
  type ProviderId,
  type RecordedEvent,
  type ResourceAmounts,
  type ServerId,
} from '@omnivisor/contracts';
import { uuidV5 } from '@omnivisor/platform';
import { z } from 'zod';
import { SchedulerSettings } from '../core/settings.js';
import { World } from '../core/world.js';
import { claimKey } from '../scheduling/provider/provider.js';
import type { Decided } from './past.js';

/** What is to be different. */
export const Changes = z.strictObject({
  settings: z.strictObject(SchedulerSettings.shape).partial().default({}),
  /** So many more hosts like the one of this name, from the beginning of the period on. */
  hosts: z.array(z.strictObject({ like: z.string().min(1), count: z.number().int().min(1).max(1_000) })).default([]),
});
export type Changes = z.output<typeof Changes>;

/** Parent of the ids of hosts that never were. */
const ADDED = '0d6c1f0a-5a54-4c3e-9a4e-6a1d1f0f7b21';

const RATIOS: readonly (readonly [string, keyof SchedulerSettings])[] = [
  ['VCPU', 'cpuAllocationRatio'],
  ['MEMORY_MB', 'ramAllocationRatio'],
  ['DISK_GB', 'diskAllocationRatio'],
];

/** The scheduler's world if something had been different: claims go where the other decisions put them. */
export class Alternative {
  readonly world = new World();
  /** Claims that are another's than the log says: where they are, null for nowhere. By server and attempt. */
  private readonly moved = new Map<string, ProviderId | null>();
  /** Claims that the log never had, by server. */
  private readonly added = new Map<string, RecordedEvent>();

  constructor(private readonly changes: Changes) {}

  /** An event of the log that is no decision of the period. */
  apply(event: RecordedEvent): void {
    if (event.type === 'ProviderInventorySet') this.world.apply(this.withOtherInventory(event));
    else if (event.type === 'AllocationReleased') this.release(event);
    else this.world.apply(event);
    if (event.type === 'ServerDeleted') this.remove((event.data as { serverId: string }).serverId, event);
  }

  /** A decision as it came out here, in the place of the one of the log. */
  claim(decided: Decided, providerId: ProviderId | null, resources: ResourceAmounts): void {
    const { serverId, attempt, explanation } = decided.data;
    const real = decided.type === 'AllocationClaimed' ? decided.data.providerId : null;
    if (providerId !== real) this.moved.set(claimKey(serverId, attempt), providerId);
    if (providerId === null) return;
    const owner = decided.type === 'AllocationClaimed' ? decided.data : { projectId: '', userId: '' };
    const data = {
      providerId,
      serverId,
      attempt,
      projectId: owner.projectId,
      userId: owner.userId,
      resources,
      explanation,
    };
    // It counts from the decision on, not from when the log had it.
    const at = { position: this.world.position };
    const event: RecordedEvent = {
      ...decided,
      ...at,
      type: 'AllocationClaimed',
      stream: `provider-${providerId}`,
      data,
    };
    this.world.apply(event);
    if (real === null) this.added.set(serverId, event);
  }

  /** Adds the hosts that are asked for. @throws DomainError `invalid` for a name that no host has */
  addHosts(template: RecordedEvent): void {
    for (const { like, count } of this.changes.hosts)
      for (let n = 1; n <= count; n++) for (const event of this.copyOf(like, n, template)) this.world.apply(event);
  }

  private *copyOf(like: string, n: number, template: RecordedEvent): Iterable<RecordedEvent> {
    const host = this.world.hostByName(like);
    const provider = host?.providerId ? this.world.providers.get(host.providerId) : undefined;
    if (!host?.facts || !provider) throw invalid(`there was no host ${like} at that moment`);
    const name = `${like}+${n}`;
    const hostId = uuidV5(ADDED, name) as HostId;
    const providerId = hostId as string as ProviderId;
    const { availabilityZone } = host;
    const facts = { ...host.facts, hostname: name, node: name, machineId: name };
    const { inventories, traits, aggregates } = provider;
    const make = (stream: string, type: string, data: object): RecordedEvent => ({
      ...template,
      position: this.world.position,
      stream: `${stream}-${hostId}`,
      type,
      data,
    });
    yield make('host', 'HostEnrolled', { hostId, name, availabilityZone, publicKey: name, providerId });
    yield make('host', 'HostSessionStarted', { hostId, session: 1, facts });
    yield make('provider', 'ProviderCreated', { providerId, name, hostId });
    yield make('provider', 'ProviderInventorySet', { providerId, inventories });
    yield make('provider', 'ProviderTraitsSet', { providerId, traits });
    yield make('provider', 'ProviderAggregatesSet', { providerId, aggregates });
  }

  private release(event: RecordedEvent): void {
    const { serverId, attempt } = event.data as { serverId: ServerId; attempt: number };
    const moved = this.moved.get(claimKey(serverId, attempt));
    if (moved === undefined) {
      this.world.apply(event);
      return;
    }
    this.moved.delete(claimKey(serverId, attempt));
    this.world.position = event.position;
    if (moved !== null) this.releaseOf(event, moved, serverId, attempt);
  }

  /** What the log never placed is released when its server is deleted. */
  private remove(serverId: string, event: RecordedEvent): void {
    const claim = this.added.get(serverId);
    if (!claim) return;
    this.added.delete(serverId);
    const { providerId, attempt } = claim.data as { providerId: ProviderId; attempt: number };
    this.moved.delete(claimKey(serverId, attempt));
    this.releaseOf(event, providerId, serverId as ServerId, attempt);
  }

  private releaseOf(event: RecordedEvent, providerId: ProviderId, serverId: ServerId, attempt: number): void {
    this.world.apply({
      ...event,
      type: 'AllocationReleased',
      stream: `provider-${providerId}`,
      data: { providerId, serverId, attempt, reason: 'absent' },
    });
  }

  private withOtherInventory(event: RecordedEvent): RecordedEvent {
    const data = event.data as { providerId: string; inventories: Record<string, Inventory> };
    const { settings } = this.changes;
    const inventories = { ...data.inventories };
    for (const [resource, setting] of RATIOS) {
      const ratio = settings[setting];
      const known = inventories[resource];
      if (known && typeof ratio === 'number') inventories[resource] = { ...known, allocationRatio: ratio };
    }
    const memory = inventories.MEMORY_MB;
    const { reservedHostMemoryMib } = settings;
    if (memory && reservedHostMemoryMib !== undefined)
      inventories.MEMORY_MB = { ...memory, reserved: Math.min(reservedHostMemoryMib, Math.floor(memory.total / 10)) };
    return { ...event, data: { ...data, inventories } };
  }
}
