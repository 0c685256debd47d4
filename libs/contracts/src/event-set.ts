import { z } from 'zod';
import type { DomainEvent } from './envelope.js';

export interface EventDefinition<D extends z.ZodType = z.ZodType> {
  /** One sentence for the event catalog: what happened, in the user's words. */
  readonly doc: string;
  /** Version of the schema of `data`. Add optional fields within a version; a change of meaning is a new event. */
  readonly version: number;
  readonly data: D;
}

/** The events of one kind of stream, and the one service that writes them. */
export interface EventSet<E extends Record<string, EventDefinition> = Record<string, EventDefinition>> {
  /** Streams are named `<stream>-<key>`. */
  readonly stream: string;
  readonly writer: 'api-gateway' | 'scheduler' | 'image-service';
  readonly events: E;
  /**
   * Whose key closes the personal fields of an event; null where its data does not say so: then it is the same as for
   * the first event of the stream. Every set with personal fields has it.
   */
  readonly subject?: (data: Readonly<Record<string, unknown>>) => PersonalSubject | null;
}

export const eventSet = <const E extends Record<string, EventDefinition>>(set: EventSet<E>): EventSet<E> => set;

/** An event definition of version 1. */
export const event = <D extends z.ZodType>(doc: string, data: D, version = 1): EventDefinition<D> => ({
  doc,
  version,
  data,
});

/** The union of the events of a set, as deciders and projections see them. */
export type EventOf<S extends EventSet> = {
  [T in keyof S['events'] & string]: DomainEvent<T, z.infer<S['events'][T]['data']>>;
}[keyof S['events'] & string];

/** The data of one event of a set. */
export type EventData<S extends EventSet, T extends keyof S['events']> = z.infer<S['events'][T]['data']>;

/** Whose personal data it is: all of it is closed by one key, and erased together. */
export const PersonalSubject = z.object({
  /** `logins`: of whoever failed to log in on the day `id`, yyyy-mm-dd. */
  kind: z.enum(['user', 'project', 'logins']),
  id: z.string(),
});
export type PersonalSubject = z.infer<typeof PersonalSubject>;

/**
 * Marks a field as personal: it names or describes a human being. Its value stands in the log under the key of its
 * subject, and is gone when that key is; see `personalFieldsOf`. Secrets are not personal fields; they never enter an
 * event at all.
 */
export const personal = <S extends z.ZodType>(schema: S): S => schema.meta({ personal: true }) as S;

/** A secret kept in the vault: events carry where it is and what it hashes to, never the secret. */
export const VaultRef = z.object({
  ref: z.string(),
  /** SHA-256 of the secret, hexadecimal. */
  fingerprint: z.string(),
});
export type VaultRef = z.infer<typeof VaultRef>;
