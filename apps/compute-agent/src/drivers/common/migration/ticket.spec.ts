import { ServerId } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import { bootId, readTicket, refuseElsewhere, type Ticket } from './ticket.js';

const serverId = ServerId.parse('0c2c7a4e-52a3-4b8e-8f4d-000000000001');
const there = { socket: `/var/lib/omnivisor/guests/${serverId}/relay.sock`, tcp: { host: '10.1.0.2', port: 4711 } };
const ticket = (change: Partial<Ticket> = {}): Ticket =>
  readTicket(
    JSON.stringify({
      ...{ kind: 'qemu', serverId, key: 'a'.repeat(64), machine: 'another', endpoints: there, disks: 'copied' },
      ...change,
    }),
    'qemu',
    serverId,
  );
const refusal = (of: Ticket, address?: string) => {
  try {
    refuseElsewhere(of, address);
    return null;
  } catch (error) {
    return (error as { code: string }).code;
  }
};
const at = (host: string) => ticket({ endpoints: { ...there, tcp: { host, port: 22 } } });

describe('a ticket', () => {
  it('leads to the address at which the target is known', () => {
    expect(refusal(ticket(), '10.1.0.2')).toBeNull();
    expect(refusal(at('fd00::2'), 'fd00::2')).toBeNull();
  });
  it.each(['10.1.0.3', undefined])('leads nowhere else: known is %s', (address) =>
    expect(refusal(ticket(), address)).toBe('fault'),
  );
  it.each(['127.0.0.1', '169.254.169.254', '0.0.0.0', '::1', '::', 'fe80::1', '::ffff:127.0.0.1', 'localhost'])(
    'leads to no address of whoever asks: %s',
    (host) => expect(refusal(at(host), host)).toBe('fault'),
  );
  it('of this machine leads to the socket of its guest, and to no other', () => {
    const here = (socket: string) => ticket({ machine: bootId(), endpoints: { socket, tcp: null } });
    expect(refusal(here(there.socket))).toBeNull();
    for (const socket of [
      '/run/docker.sock',
      `/x/../guests/${serverId}/relay.sock`,
      '/guests/another/relay.sock',
      `/guests/${serverId}/qmp.sock`,
    ])
      expect(refusal(here(socket))).toBe('fault');
  });
});
