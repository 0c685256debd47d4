import { z } from 'zod';
import { type EventOf, event, eventSet } from '../event-set.js';
import { HostId, ProjectId, ProviderId, ServerId, UserId } from '../ids.js';

/** Amounts by Placement resource class: `VCPU`, `MEMORY_MB`, `DISK_GB`, `CUSTOM_…`. */
export const ResourceAmounts = z.record(z.string(), z.number().int().nonnegative());
export type ResourceAmounts = z.infer<typeof ResourceAmounts>;

/** Placement inventory of one resource class. Capacity = (total - reserved) * allocationRatio. */
export const Inventory = z.object({
  total: z.number().int().nonnegative(),
  reserved: z.number().int().nonnegative(),
  minUnit: z.number().int().positive(),
  maxUnit: z.number().int().positive(),
  stepSize: z.number().int().positive(),
  allocationRatio: z.number().nonnegative(),
});
export type Inventory = z.infer<typeof Inventory>;

/**
 * Why a server landed where it did, or nowhere. Bounded; the rest can be recomputed from the log at `settings` and
 * the position the decision was made on.
 */
/** What the networks of a server ask of its host. */
export const NetworkNeed = z.object({
  trait: z.string(),
  /** For people: the constraint, and what it asks for. */
  constraint: z.string(),
  wanted: z.string(),
});
export type NetworkNeed = z.infer<typeof NetworkNeed>;

export const PlacementExplanation = z.object({
  /** Position of the log the index stood at. */
  position: z.number().int(),
  /** Version of the scheduler settings in force. */
  settingsVersion: z.number().int(),
  hostsConsidered: z.number().int(),
  hostsFitting: z.number().int(),
  /** First failing constraint by host class, with the numbers: how many hosts it excluded. */
  refusals: z.array(
    z.object({
      constraint: z.string(),
      hostClass: z.string(),
      hosts: z.number().int(),
      wanted: z.string(),
      /** Best that any of those hosts could offer. */
      bestHad: z.string(),
    }),
  ),
  /** At most 20 hosts with their own first failing constraint, or their weight. */
  sample: z.array(
    z.object({
      host: z.string(),
      verdict: z.enum(['chosen', 'fits', 'refused']),
      constraint: z.string().nullable(),
      wanted: z.string().nullable(),
      had: z.string().nullable(),
      weight: z.number().nullable(),
    }),
  ),
  /** The smallest change of the request that would have fitted; null when it fitted. */
  smallestChange: z.string().nullable(),
  weigher: z.string(),
  /** What the server's networks asked for; absent when that was nothing. */
  networkNeeds: z.array(NetworkNeed).optional(),
  /**
   * Which decision of which run of the scheduler, `<run>/<n>`: those before it in one run held their room already, though
   * their claims may stand later in the log.
   */
  order: z
    .string()
    .regex(/^[0-9a-f]{8}\/\d+$/)
    .optional(),
});
export type PlacementExplanation = z.infer<typeof PlacementExplanation>;

export const providerEvents = eventSet({
  stream: 'provider',
  writer: 'scheduler',
  events: {
    ProviderCreated: event(
      'A resource provider exists for a compute host.',
      z.object({ providerId: ProviderId, name: z.string(), hostId: HostId }),
    ),
    ProviderInventorySet: event(
      'The provider offers these amounts.',
      z.object({ providerId: ProviderId, inventories: z.record(z.string(), Inventory) }),
    ),
    ProviderTraitsSet: event(
      'The provider has these traits.',
      z.object({ providerId: ProviderId, traits: z.array(z.string()) }),
    ),
    ProviderCustomTraitsSet: event(
      'An operator gave the provider these traits, beside those that its host has.',
      z.object({ providerId: ProviderId, traits: z.array(z.string()) }),
    ),
    ProviderAggregatesSet: event(
      'The provider is in these aggregates.',
      z.object({ providerId: ProviderId, aggregates: z.array(z.string()) }),
    ),
    AllocationClaimed: event(
      'A server claimed amounts of the provider, and this is why it was this one.',
      z.object({
        providerId: ProviderId,
        serverId: ServerId,
        attempt: z.number().int().positive(),
        projectId: ProjectId,
        userId: UserId,
        resources: ResourceAmounts,
        explanation: PlacementExplanation,
      }),
    ),
    AllocationReleased: event(
      'The claim of a server on the provider ended.',
      z.object({
        providerId: ProviderId,
        serverId: ServerId,
        attempt: z.number().int().positive(),
        reason: z.enum(['absent', 'abandoned', 'fenced', 'retired', 'resized']),
      }),
    ),
    ProviderRemoved: event('The resource provider is gone.', z.object({ providerId: ProviderId })),
  },
});
export type ProviderEvent = EventOf<typeof providerEvents>;

/** One stream per server: what the scheduler refused. What it granted stands on the provider's stream. */
export const placementEvents = eventSet({
  stream: 'placement',
  writer: 'scheduler',
  events: {
    PlacementRefused: event(
      'No host could take this attempt of the server.',
      z.object({
        serverId: ServerId,
        attempt: z.number().int().positive(),
        /** For the owner: constraint and numbers, no host names. */
        message: z.string(),
        explanation: PlacementExplanation,
      }),
    ),
  },
});
export type PlacementEvent = EventOf<typeof placementEvents>;
