import { z } from 'zod';
import { CommandId, EventId, RequestId } from './ids.js';
import { Instant } from './units.js';

/** Who caused a change: a user with a token, or one of our services acting by itself. */
export const Actor = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('user'),
    userId: z.string(),
    projectId: z.string().nullable(),
    domainId: z.string().nullable().optional(),
    roles: z.array(z.string()),
    /** Source address of the request. */
    address: z.string().nullable(),
  }),
  z.object({
    kind: z.literal('service'),
    /** e.g. `api-gateway`, `scheduler`, `host-<id>` for what a compute host reported. */
    service: z.string(),
  }),
]);
export type Actor = z.infer<typeof Actor>;

/** What travels with a command and is kept with each of its events. */
export const CommandContext = z.object({
  actor: Actor,
  requestId: RequestId,
  /** The first request of the chain: one id gives the whole causal tree. */
  correlationId: RequestId,
  /** The event that caused this command, when an event did. */
  causationId: EventId.nullable(),
  commandId: CommandId,
});
export type CommandContext = z.infer<typeof CommandContext>;

/** Revision of an event in its stream: 0, 1, 2, … */
export type Revision = number;
/** The revision of a stream that does not exist. */
export const NO_STREAM: Revision = -1;
/** Place of an event in the whole log. Opaque and totally ordered; a safe integer. 0 lies before the first event. */
export type Position = number;

/** An event as a decider returns it. */
export interface DomainEvent<T extends string = string, D = unknown> {
  readonly type: T;
  readonly data: D;
}

/** An event on its way to the log. */
export interface NewEvent extends DomainEvent {
  readonly schemaVersion: number;
  readonly context: CommandContext;
}

/** An event of the log. */
export interface RecordedEvent<T extends string = string, D = unknown> extends DomainEvent<T, D> {
  readonly id: EventId;
  readonly schemaVersion: number;
  readonly stream: string;
  readonly revision: Revision;
  readonly position: Position;
  /** Never before that of its predecessor in the log. */
  readonly recordedAt: Instant;
  readonly context: CommandContext;
}

/** The largest `data` of an event, as canonical text in UTF-8. */
export const MAX_EVENT_DATA_BYTES = 64 * 1024;
