import { z } from 'zod';
import { type EventOf, event, eventSet, PersonalSubject, VaultRef } from '../event-set.js';

/** One stream per subject: `personal-<kind>-<id>`. */
export const personalEvents = eventSet({
  stream: 'personal',
  writer: 'api-gateway',
  events: {
    PersonalKeyMade: event(
      'Personal fields of this user or project stand in the log under this key from here on.',
      z.object({ subject: PersonalSubject, key: VaultRef }),
    ),
    PersonalDataErased: event(
      'The key is destroyed: what it closed cannot be read again, and nothing personal is recorded of the subject any more.',
      z.object({
        subject: PersonalSubject,
        reason: z.string(),
        /** Who gave the command, as the command line names him. */
        by: z.string(),
      }),
    ),
    PersonalDataForgotten: event(
      'The key is destroyed, and rows of the read model that had told what was erased were made anew.',
      z.object({
        subject: PersonalSubject,
        rows: z.number().int().nonnegative(),
        /** True while a replica may still have the key: it is looked at again. Otherwise nothing is left. */
        partial: z.boolean().optional(),
      }),
    ),
  },
});
export type PersonalEvent = EventOf<typeof personalEvents>;

/** Key of a subject's stream. */
export const subjectKey = ({ kind, id }: PersonalSubject): string => `${kind}-${id}`;
