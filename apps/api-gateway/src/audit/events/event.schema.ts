import { eventSets } from '@omnivisor/contracts';
import { z } from 'zod';
import { outcomes } from '../index/outcome.js';

export const MAX_PAGE = 1_000;

/** A parameter that may be given once, as the edge has it: a list of texts. */
type TextSchema = z.ZodType<unknown, string>;
const once = <T extends TextSchema>(schema: T) =>
  z
    .array(z.string())
    .length(1, 'is given more than once')
    .transform((values) => values[0]!)
    .pipe(schema);

const text = z.string().min(1).max(255);
const types = new Set(eventSets.flatMap((set) => Object.keys(set.events)));

/** Which events; all that is given has to hold. Shared by the list and by what follows it. */
export const filterFields = {
  project_id: text.describe("Whose matter it is; `none` for the cloud's own. An auditor of a project sees only his."),
  actor_id: text.describe('Id of the user, or name of the service, that caused it.'),
  resource_id: text.describe('Id of something that the event speaks of.'),
  type: text
    .refine((type) => types.has(type), 'is no type of event')
    .describe('Type of event, as in the event catalog.'),
  outcome: z.enum(outcomes).describe('What became of it: `pending` for what was accepted and is not done yet.'),
} as const;
export const pageFields = {
  from: text.describe('Events after this time (RFC 3339) or position of the log.'),
  to: text.describe('Events up to this time (RFC 3339) or position of the log.'),
  sort: z.enum(['asc', 'desc']).describe('`desc`, the newest first, when not given.'),
  limit: z
    .string()
    .regex(/^\d{1,4}$/)
    .transform(Number)
    .pipe(z.number().int().min(1).max(MAX_PAGE))
    .describe('Events of a page, at most 1000; 100 when not given.'),
  marker: z
    .string()
    .regex(/^\d{1,15}$/)
    .transform(Number)
    .describe('Position of the last event of the page before.'),
} as const;

type Fields = Readonly<Record<string, TextSchema>>;
type Query<F extends Fields> = z.ZodObject<{ [K in keyof F]: z.ZodOptional<ReturnType<typeof once<F[K]>>> }>;
const queryOf = <F extends Fields>(fields: F): Query<F> =>
  z.strictObject(
    Object.fromEntries(Object.entries(fields).map(([name, schema]) => [name, once(schema).optional()])),
  ) as unknown as Query<F>;

export const ListQuery = queryOf({ ...filterFields, ...pageFields });
export type ListQuery = z.output<typeof ListQuery>;
export const FollowQuery = queryOf(filterFields);
export type FollowQuery = z.output<typeof FollowQuery>;

export const ActorView = z.object({
  type: z.enum(['user', 'service']),
  /** Null where the caller may not know the host that reported it. */
  id: z.string().nullable(),
  project_id: z.string().nullable(),
  roles: z.array(z.string()),
  /** Source address of the request. */
  address: z.string().nullable(),
});

export const EventView = z
  .object({
    id: z.string(),
    position: z.number().int().describe('Place in the log; totally ordered.'),
    time: z.iso.datetime(),
    type: z.string(),
    outcome: z.enum(outcomes),
    stream: z.string().nullable().describe('What changed, as `<kind>-<key>`; null where it names a host.'),
    project_id: z.string().nullable(),
    actor: ActorView,
    request_id: z.string(),
    correlation_id: z.string().describe('The first request of the chain.'),
    causation_id: z.string().nullable().describe('The event that caused it, when an event did.'),
    data: z
      .record(z.string(), z.unknown())
      .describe('As in the event catalog, without hosts for who may not know them.'),
  })
  .meta({ id: 'Event' });
export type EventView = z.infer<typeof EventView>;

export const EventPage = z
  .object({
    events: z.array(EventView),
    events_links: z.array(z.object({ rel: z.literal('next'), href: z.string() })).optional(),
  })
  .meta({ id: 'EventPage' });
