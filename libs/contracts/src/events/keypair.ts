import { z } from 'zod';
import { type EventOf, event, eventSet, personal } from '../event-set.js';
import { UserId } from '../ids.js';

export const KeypairType = z.enum(['ssh', 'x509']);
export type KeypairType = z.infer<typeof KeypairType>;

/** One stream per user: names are unique and counted within a user. Private keys are never here, nor anywhere. */
export const keypairEvents = eventSet({
  stream: 'keypair',
  writer: 'api-gateway',
  subject: ({ userId }) => ({ kind: 'user', id: userId as string }),
  events: {
    KeypairAdded: event(
      'A user keeps a public key here.',
      z.object({
        userId: UserId,
        name: z.string(),
        type: KeypairType,
        /** Its comment mostly says who has the private half. */
        publicKey: personal(z.string()),
        /** MD5 for ssh, SHA-1 for x509; hexadecimal pairs with colons. */
        fingerprint: z.string(),
        /** True when the pair was generated here and its private half given out once. */
        generated: z.boolean(),
      }),
    ),
    KeypairDeleted: event('A user removed a public key.', z.object({ userId: UserId, name: z.string() })),
  },
});
export type KeypairEvent = EventOf<typeof keypairEvents>;
