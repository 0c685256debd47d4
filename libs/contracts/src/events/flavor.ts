import { z } from 'zod';
import { type EventOf, event, eventSet } from '../event-set.js';
import { FlavorId, ProjectId } from '../ids.js';
import { GiB, MiB } from '../units.js';

const flavor = { flavorId: FlavorId };

/** All flavors are one stream: their ids and their names are each unique in the whole cloud. */
export const FLAVOR_CATALOG = 'catalog';

export const flavorEvents = eventSet({
  stream: 'flavor',
  writer: 'api-gateway',
  events: {
    FlavorCreated: event(
      'A flavor is offered.',
      z.object({
        ...flavor,
        name: z.string(),
        vcpus: z.number().int().positive(),
        memory: MiB,
        disk: GiB,
        ephemeral: GiB,
        swap: MiB,
        rxtxFactor: z.number().positive(),
        isPublic: z.boolean(),
        description: z.string().nullable(),
      }),
    ),
    FlavorDescriptionChanged: event(
      'The description of the flavor changed.',
      z.object({ ...flavor, description: z.string().nullable() }),
    ),
    FlavorExtraSpecsSet: event(
      'These extra specs of the flavor were set; others stay as they are.',
      z.object({ ...flavor, extraSpecs: z.record(z.string(), z.string()) }),
    ),
    FlavorExtraSpecRemoved: event('The flavor lost an extra spec.', z.object({ ...flavor, key: z.string() })),
    FlavorAccessGranted: event('A project may use the private flavor.', z.object({ ...flavor, projectId: ProjectId })),
    FlavorAccessRevoked: event(
      'A project may no longer use the private flavor.',
      z.object({ ...flavor, projectId: ProjectId }),
    ),
    FlavorDeleted: event('The flavor is no longer offered; servers made of it keep theirs.', z.object(flavor)),
  },
});
export type FlavorEvent = EventOf<typeof flavorEvents>;
