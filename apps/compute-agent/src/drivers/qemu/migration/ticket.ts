import { readFileSync } from 'node:fs';
import { ServerId } from '@omnivisor/contracts';
import { z } from 'zod';
import { HypervisorError } from '../../hypervisor-driver.js';

/** What the source has to know to send a guest: where, and the key of this one migration. A secret. */
const Ticket = z.strictObject({
  kind: z.literal('qemu'),
  serverId: ServerId,
  key: z.string().regex(/^[0-9a-f]{64}$/),
  /** Boot id of the target's machine. */
  machine: z.string(),
  endpoints: z.strictObject({
    socket: z.string().startsWith('/'),
    tcp: z.strictObject({ host: z.string(), port: z.number().int().positive() }).nullable(),
  }),
  disks: z.enum(['shared', 'copied']),
});
export type Ticket = z.infer<typeof Ticket>;

/** @throws HypervisorError `fault` when it is not one of this backend and server */
export const readTicket = (text: string, id: ServerId): Ticket => {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    json = null;
  }
  const parsed = Ticket.safeParse(json);
  if (!parsed.success || parsed.data.serverId !== id)
    throw new HypervisorError('fault', 'the ticket is not one of this server');
  return parsed.data;
};

/** Agents with the same one are on one machine. */
export const bootId = (): string => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
