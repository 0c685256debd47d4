import { expect, it } from 'vitest';
import { history } from '../server/lifecycle/server.fixtures.js';
import { evolve } from '../server/lifecycle/server-evolve.js';
import { noServer, type Remains } from '../server/state/server.js';
import type { ServerRow } from '../server/view/server.projection.js';
import { desiredRemains } from './desired.js';

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
