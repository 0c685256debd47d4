import { z } from 'zod';
import { type EventOf, event, eventSet } from '../event-set.js';
import { Instant } from '../units.js';

/** One stream per reader: `feed-reader-<name>`. */
export const feedReaderEvents = eventSet({
  stream: 'feed-reader',
  writer: 'scheduler',
  events: {
    FeedReaderAdmitted: event(
      'An operator let somebody outside hear feeds of the log on NATS; `publicKey` is the NATS user key that is proof.',
      z.object({
        name: z.string(),
        publicKey: z.string(),
        /** What may be heard, as NATS writes subjects. */
        subjects: z.array(z.string()),
        expiresAt: Instant,
      }),
    ),
    FeedReaderRevoked: event(
      'A reader of feeds is let in no more; its key is refused from now on.',
      z.object({ name: z.string(), publicKey: z.string() }),
    ),
  },
});
export type FeedReaderEvent = EventOf<typeof feedReaderEvents>;
