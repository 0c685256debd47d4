import { z } from 'zod';
import { type EventOf, event, eventSet } from '../event-set.js';
import { Instant } from '../units.js';

/** One stream per project (or user, without one) and day: `refusal-<project or user>-<yyyy-mm-dd>`. */
export const refusalEvents = eventSet({
  stream: 'refusal',
  writer: 'api-gateway',
  events: {
    RequestRefused: event(
      'A caller who had proved who he is asked for what he may not do.',
      z.object({
        requestId: z.string(),
        /** Method and path with its parameters' names, e.g. `DELETE /compute/v2.1/servers/:id`. */
        operation: z.string(),
        /** Rule of the policy that said no; null where no single rule did. */
        rule: z.string().nullable(),
        /** Parameters of the path: the ids of what was asked for. */
        targets: z.record(z.string(), z.string()),
        /** What was answered: 404 where the caller may not even know of the target. */
        status: z.number().int(),
      }),
    ),
    RefusalsCounted: event(
      'A caller was refused more often within a minute than is recorded one by one.',
      z.object({ userId: z.string(), minute: Instant, count: z.number().int().positive() }),
    ),
  },
});
export type RefusalEvent = EventOf<typeof refusalEvents>;
