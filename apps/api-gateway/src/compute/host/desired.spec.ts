import { expect, it } from 'vitest';
import { history } from '../server/lifecycle/server.fixtures.js';
import { evolve } from '../server/lifecycle/server-evolve.js';
import { noServer, type Remains } from '../server/state/server.js';
import type { ServerRow } from '../server/view/server.projection.js';
import { desiredOf, desiredRemains } from './desired.js';

it('a host is told to destroy what it has of a server that has left all others', () => {
  const { serverId, host, otherHost, active } = history;
  const server = [
    ...active,
    { type: 'ServerDeleteRequested', data: { serverId } } as const,
    { type: 'ServerGuestAbsent', data: { serverId, host, attempt: 1 } } as const,
  ].reduce(evolve, noServer);
  expect(server.placement).toBeNull();
  const placement = { ...history.schedule(2, otherHost) };
  const left: Remains = { placement, part: 'tombstone', claims: [2], isPlugged: false };
  expect(desiredRemains(server as ServerRow, left, [])).toMatchObject({ serverId, attempt: 2, tombstone: true });
});

it('a guest that was missing and is there again is told of, whatever its power', () => {
  const { serverId, host, active } = history;
  const missing = { type: 'ServerGuestMissing', data: { serverId, host, attempt: 1 } } as const;
  const power = (server: object) => desiredOf(server as ServerRow, []).power;
  expect(power(active.reduce(evolve, noServer))).toBe('running');
  const server = [...active, missing].reduce(evolve, noServer);
  expect(power(server)).toBe('noState');
  const back = { serverId, host, attempt: 1, power: 'running', cause: 'guest', bootId: 'b1' } as const;
  const after = evolve(server, { type: 'ServerPowerChanged', data: back });
  expect(after).toMatchObject({ vmState: 'error', power: 'running' });
  expect(power(after)).toBe('running');
});
