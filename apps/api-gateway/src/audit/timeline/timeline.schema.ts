import { z } from 'zod';
import { outcomes } from '../index/outcome.js';

export const TimelineEvent = z
  .object({
    id: z.string(),
    position: z.number().int(),
    time: z.iso.datetime(),
    type: z.string(),
    outcome: z.enum(outcomes),
    service: z.string().describe('The service that recorded it.'),
    who: z.string(),
    what: z.string(),
    request_id: z.string(),
    cause_id: z.string().nullable().describe('The event of this timeline that caused it.'),
    reasons: z.array(z.string()),
    call: z
      .object({ operation: z.string(), host: z.string().nullable(), hypervisor: z.string().nullable() })
      .nullable()
      .describe('The call of a hypervisor that it tells of.'),
  })
  .meta({ id: 'TimelineEvent' });

export const Timeline = z
  .object({
    server_id: z.string(),
    events: z.array(TimelineEvent).describe('The oldest first, each after its cause.'),
    more: z.boolean().describe('True when the newest events are left out.'),
  })
  .meta({ id: 'Timeline' });
export type Timeline = z.infer<typeof Timeline>;
