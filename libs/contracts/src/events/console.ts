import { z } from 'zod';
import { type EventOf, event, eventSet } from '../event-set.js';
import { ProjectId, ServerId, UserId } from '../ids.js';
import { Instant } from '../units.js';

/** One stream per server: who was let on its console. */
export const consoleEvents = eventSet({
  stream: 'console',
  writer: 'api-gateway',
  events: {
    ConsoleAuthorized: event(
      'A user got a token for the console of a server; it ends by itself, and when the server is stopped or deleted.',
      z.object({
        serverId: ServerId,
        projectId: ProjectId,
        userId: UserId,
        /** SHA-256 of the token, hexadecimal. */
        fingerprint: z.string(),
        protocol: z.enum(['vnc', 'serial', 'mks', 'rdp']),
        type: z.string(),
        expiresAt: Instant,
      }),
    ),
  },
});
export type ConsoleEvent = EventOf<typeof consoleEvents>;
