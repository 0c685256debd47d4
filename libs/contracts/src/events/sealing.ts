import { z } from 'zod';
import { type EventOf, event, eventSet, VaultRef } from '../event-set.js';

/** The one stream `sealing-keys`: who signs the log's checkpoints. */
export const sealingEvents = eventSet({
  stream: 'sealing',
  writer: 'api-gateway',
  events: {
    SealingKeyAdded: event(
      'A new key signs the checkpoints of the log from here on, beside the one before it.',
      z.object({
        /** Public key of a signed note (C2SP): `<name>+<id>+<base64>`. */
        publicKey: z.string(),
        secret: VaultRef,
      }),
    ),
  },
});
export type SealingEvent = EventOf<typeof sealingEvents>;
