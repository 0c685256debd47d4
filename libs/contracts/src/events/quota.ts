import { z } from 'zod';
import { type EventOf, event, eventSet } from '../event-set.js';
import { ProjectId } from '../ids.js';

/** Amounts by resource name as Nova's quota sets name them: `instances`, `cores`, `ram` (MiB), … */
export const QuotaAmounts = z.record(z.string(), z.number().int());
export type QuotaAmounts = z.infer<typeof QuotaAmounts>;

/**
 * One stream per project guards its limits by expected revision. `owner` is what holds the reservation, e.g.
 * `server:<id>` or `port:<id>`.
 */
export const quotaEvents = eventSet({
  stream: 'quota',
  writer: 'api-gateway',
  events: {
    QuotaLimitsSet: event(
      'Limits of the project are now these; a resource that is not named keeps its limit. -1 means unlimited.',
      z.object({ projectId: ProjectId, limits: QuotaAmounts }),
    ),
    QuotaLimitsReset: event('The project uses the default limits again.', z.object({ projectId: ProjectId })),
    QuotaReserved: event(
      'An owner took amounts out of the quota.',
      z.object({ projectId: ProjectId, owner: z.string(), amounts: QuotaAmounts }),
    ),
    QuotaAmended: event(
      'An owner holds other amounts from now on.',
      z.object({
        projectId: ProjectId,
        owner: z.string(),
        amounts: QuotaAmounts,
        generation: z
          .number()
          .int()
          .optional()
          .describe('Generation of the owner that takes them: what an older one took is no longer asked for.'),
      }),
    ),
    QuotaReleased: event('An owner gave its amounts back.', z.object({ projectId: ProjectId, owner: z.string() })),
  },
});
export type QuotaEvent = EventOf<typeof quotaEvents>;
