import { z } from 'zod';
import { type EventOf, event, eventSet } from '../event-set.js';

/** What a resource of a service is counted by. */
const resource = {
  serviceId: z.string(),
  /** Null for all regions. */
  regionId: z.string().nullable(),
  resourceName: z.string(),
};

/** How much of a resource everybody may have. */
export const RegisteredLimitAttributes = z.object({
  ...resource,
  /** -1: no limit. */
  defaultLimit: z.number().int(),
  description: z.string().nullable(),
});
export type RegisteredLimitAttributes = z.infer<typeof RegisteredLimitAttributes>;

/** How much of it one project or domain may have instead. */
export const LimitAttributes = z.object({
  ...resource,
  projectId: z.string().nullable(),
  domainId: z.string().nullable(),
  resourceLimit: z.number().int(),
  description: z.string().nullable(),
});
export type LimitAttributes = z.infer<typeof LimitAttributes>;

const id = z.string();

/** One stream, `unified-limits-cloud`: a limit needs its registered limit, and each stands once. */
export const unifiedLimitEvents = eventSet({
  stream: 'unified-limits',
  writer: 'api-gateway',
  events: {
    RegisteredLimitCreated: event(
      'A resource of a service has a limit for everybody.',
      z.object({ id, attributes: RegisteredLimitAttributes }),
    ),
    RegisteredLimitUpdated: event(
      'Attributes of the registered limit are now these.',
      z.object({ id, changes: RegisteredLimitAttributes.partial() }),
    ),
    RegisteredLimitDeleted: event('The registered limit was deleted.', z.object({ id })),
    LimitCreated: event('A project or domain has a limit of its own.', z.object({ id, attributes: LimitAttributes })),
    LimitUpdated: event(
      'Attributes of the limit are now these.',
      z.object({ id, changes: LimitAttributes.pick({ resourceLimit: true, description: true }).partial() }),
    ),
    LimitDeleted: event('The limit was deleted: what is registered for everybody counts again.', z.object({ id })),
  },
});
export type UnifiedLimitEvent = EventOf<typeof unifiedLimitEvents>;
