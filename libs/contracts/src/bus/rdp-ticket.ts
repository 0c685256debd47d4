import { z } from 'zod';

/** Where Remote Desktop finds a server's console: each part can stand in a line of a file for it. */
export const RdpTicket = z.object({
  kind: z.literal('rdp'),
  /** Name or address. */
  host: z.string().regex(/^[\w.:-]{1,255}$/),
  port: z.int().min(1).max(65_535),
  /** The id of the machine on its hypervisor. */
  accessPath: z.string().regex(/^[0-9A-Fa-f-]{36}$/),
});
export type RdpTicket = z.infer<typeof RdpTicket>;
