import type { MigrationId, ServerEvent } from '@omnivisor/contracts';
import { expect, it } from 'vitest';
import { history } from '../server/lifecycle/server.fixtures.js';
import { evolve } from '../server/lifecycle/server-evolve.js';
import { noServer, type Remains } from '../server/state/server.js';
import type { ServerRow } from '../server/view/server.projection.js';
import { desiredOf, desiredRemains } from './desired.js';
import { isAskedFor } from './host-change.js';

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

it('a guest that was given up on the target of a live move is accepted there, and never made', () => {
  const { serverId, host, otherHost, active } = history;
  const there = { serverId, host: otherHost, attempt: 2 };
  const migrationId = '7a0cbb50-4f0f-4d0c-9f0e-1d7a0c4f7a11' as MigrationId;
  const events: ServerEvent[] = [
    ...active,
    {
      type: 'ServerLiveMigrateRequested',
      data: { serverId, migrationId, requestedHost: null, generation: 1, disks: 'copied' },
    },
    { type: 'ServerMigrationScheduled', data: { ...history.schedule(2, otherHost), disks: null } },
    {
      type: 'ServerMigrationSent',
      data: { serverId, host, attempt: 1, generation: 1, power: 'shutdown', bootId: 'b1' },
    },
    { type: 'ServerMigrationLanded', data: { ...there, disks: null } },
    { type: 'ServerGuestMissing', data: there },
  ];
  const row = { ...events.reduce(evolve, noServer), onHost: otherHost } as unknown as ServerRow;
  expect(desiredOf(row, [])).toMatchObject({ attempt: 2, spawned: false, arrivesBy: 'copied' });
  expect(isAskedFor({ kind: 'spawn', serverId, attempt: 2 }, { id: otherHost, quarantine: {} }, row)).toBe(true);
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
