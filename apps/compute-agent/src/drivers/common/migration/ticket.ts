import { readFileSync } from 'node:fs';
import { BlockList, isIP } from 'node:net';
import { resolve } from 'node:path';
import { ServerId } from '@omnivisor/contracts';
import { z } from 'zod';
import { HypervisorError } from '../../hypervisor-driver.js';
import { told } from './told.js';

/** The socket of the target, in a folder of the guest's. */
export const RELAY = 'relay.sock';

/** What the source has to know to send a guest: where, and the key of this one migration. A secret. */
const Ticket = z.strictObject({
  kind: z.enum(['qemu', 'xen']),
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
export const readTicket = (text: string, kind: Ticket['kind'], id: ServerId): Ticket => {
  const refusal = 'the ticket is not one of this server';
  const ticket = told(Ticket, text, refusal);
  if (ticket.kind !== kind || ticket.serverId !== id) throw new HypervisorError('fault', refusal);
  return ticket;
};

/** Addresses that are another machine for nobody. */
const OWN = new BlockList();
for (const [net, bits, family] of [
  ['0.0.0.0', 8, 'ipv4'],
  ['127.0.0.0', 8, 'ipv4'],
  ['169.254.0.0', 16, 'ipv4'],
  ['::', 127, 'ipv6'],
  ['fe80::', 10, 'ipv6'],
] as const)
  OWN.addSubnet(net, bits, family);

const isOther = (address: string): boolean =>
  isIP(address) !== 0 && !OWN.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');

/**
 * A target is not trusted: on this machine it is found at the socket of such a guest, elsewhere where the control plane
 * knows it to be.
 * @throws HypervisorError `fault`
 */
export const refuseElsewhere = ({ endpoints: { socket, tcp }, serverId, machine }: Ticket, address?: string): void => {
  const isThere =
    machine === bootId()
      ? resolve(socket) === socket && socket.endsWith(`/guests/${serverId}/${RELAY}`)
      : tcp === null || (tcp.host === address && isOther(tcp.host));
  if (!isThere) throw new HypervisorError('fault', 'the target is not where it is known to be');
};

/** Agents with the same one are on one machine. */
export const bootId = (): string => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
