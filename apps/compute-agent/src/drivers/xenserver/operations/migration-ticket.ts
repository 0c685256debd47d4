import { ServerId } from '@omnivisor/contracts';
import { z } from 'zod';

export const Offer = z.object({
  kind: z.literal('xapi'),
  pool: z.string(),
  /** UUID of the VM, which is one of two where a move has left another in the pool; absent from older agents. */
  vm: z.string().optional(),
  serverId: ServerId,
  vcpus: z.number().int(),
  memoryMib: z.number().int(),
});

/** Where a guest is let in: by a member of the same pool, or by another pool that has opened a session for it. */
export const Ticket = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('pool'),
    nonce: z.string(),
    place: z.string(),
    host: z.string(),
    repository: z.string(),
  }),
  z.object({
    kind: z.literal('remote'),
    nonce: z.string(),
    dest: z.record(z.string(), z.string()),
    repository: z.string(),
    /** Network there by port. */
    networks: z.record(z.string(), z.string()),
  }),
]);
export type Ticket = z.infer<typeof Ticket>;
