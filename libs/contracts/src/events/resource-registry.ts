import { z } from 'zod';
import { type EventOf, event, eventSet } from '../event-set.js';
import { ProviderId } from '../ids.js';
import { Inventory, ResourceAmounts } from './provider.js';

const name = z.object({ name: z.string() });
const provider = { providerId: ProviderId };

/**
 * One stream, `resource-registry-cloud`: what clients of Placement registered beside the hosts. Their providers, and who
 * consumes them, change together or not at all.
 */
export const resourceRegistryEvents = eventSet({
  stream: 'resource-registry',
  writer: 'scheduler',
  events: {
    TraitRegistered: event('A trait of its own name can be given to providers.', name),
    TraitUnregistered: event('A trait is no longer known.', name),
    ResourceClassRegistered: event('A class of resources of its own name can be offered by providers.', name),
    ResourceClassRenamed: event(
      'A class of resources got another name.',
      z.object({ name: z.string(), to: z.string() }),
    ),
    ResourceClassUnregistered: event('A class of resources is no longer known.', name),
    ResourceProviderRegistered: event(
      'Somebody registered a resource provider that is no host.',
      z.object({ ...provider, name: z.string(), parentId: ProviderId.nullable() }),
    ),
    ResourceProviderChanged: event(
      'A registered provider got another name or parent.',
      z.object({ ...provider, name: z.string(), parentId: ProviderId.nullable() }),
    ),
    ResourceProviderUnregistered: event('A registered provider is gone.', z.object(provider)),
    ResourceInventorySet: event(
      'A registered provider offers these amounts.',
      z.object({ ...provider, inventories: z.record(z.string(), Inventory) }),
    ),
    ResourceTraitsSet: event(
      'A registered provider has these traits.',
      z.object({ ...provider, traits: z.array(z.string()) }),
    ),
    ResourceAggregatesSet: event(
      'A registered provider is in these aggregates.',
      z.object({
        ...provider,
        aggregates: z.array(z.string()),
        /** Whether it counts as a change of the provider: it did not before microversion 1.19. */
        counts: z.boolean(),
      }),
    ),
    ConsumerAllocationsSet: event(
      'A consumer takes these amounts of registered providers, and nothing else of them.',
      z.object({
        consumerId: z.string(),
        projectId: z.string(),
        userId: z.string(),
        /** Null where the client did not say. */
        consumerType: z.string().nullable(),
        /** By provider. */
        allocations: z.record(z.string(), ResourceAmounts),
      }),
    ),
    ConsumerAllocationsDeleted: event('A consumer takes nothing any more.', z.object({ consumerId: z.string() })),
  },
});
export type ResourceRegistryEvent = EventOf<typeof resourceRegistryEvents>;
