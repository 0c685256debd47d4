import type { hostBus } from '@omnivisor/contracts';
import type { z } from 'zod';
import type { Operation, Remains } from '../server/state/server.js';
import { isAccepting, isGivenUp } from '../server/state/server-moving.js';
import type { ServerRow } from '../server/view/server.projection.js';

export type DesiredServer = z.input<typeof hostBus.DesiredServer>;
type PortPlug = z.input<typeof hostBus.PortPlug>;

const operationOf = ({
  imageBefore: _,
  snapshot: __,
  ...operation
}: Operation): NonNullable<DesiredServer['operation']> => operation;

/** What the log wants of a server that is placed on a host. @param attempt under which that host has it */
export const desiredOf = (
  server: ServerRow,
  ports: readonly PortPlug[],
  attempt = server.placement!.attempt,
): DesiredServer => ({
  serverId: server.id,
  projectId: server.projectId,
  attempt,
  tombstone: server.deleteRequested && !server.releaseRequested,
  ...(server.releaseRequested ? { release: true } : {}),
  ...(server.adoption ? { adoption: { nativeId: server.adoption.nativeId } } : {}),
  spawned: server.spawned && !isGivenUp(server),
  // A guest that was missing, and is there again, has any power for news.
  power: server.power === 'noState' ? 'noState' : server.wantedPower,
  build: server.build ?? 0,
  operation: server.operation && operationOf(server.operation),
  ...(server.held ? { part: 'kept' as const } : {}),
  ...(isAccepting(server) || isGivenUp(server) ? { arrivesBy: server.migration?.disks ?? ('copied' as const) } : {}),
  ...(server.arrival && !server.spawned ? { arrival: server.arrival } : {}),
  name: server.hostname,
  flavor: server.flavor,
  image: server.image,
  configDrive: server.configDrive,
  // A guest that is held has let go of its ports: they may be plugged for another host on the same machine.
  portIds: server.held ? [] : (server.ports ?? []).map((p) => p.portId),
  ports: server.held ? [] : [...ports],
  interfaces: (server.interfaces ?? []).map(({ portId, change }) => ({ portId, change })),
});

/** What the log wants of what a host has of a server that is placed on another one, or on none any more. */
export const desiredRemains = (
  server: ServerRow,
  { placement, part, isPlugged }: Remains,
  ports: readonly PortPlug[],
): DesiredServer => {
  const { arrival: _, ...whole } = desiredOf(server, ports, placement.attempt);
  return {
    ...whole,
    tombstone: part === 'tombstone',
    spawned: true,
    power: 'shutdown',
    operation: null,
    ...(part === 'tombstone' ? {} : { part }),
    ...(part === 'incoming' ? { arrivesBy: server.migration?.disks ?? 'copied' } : {}),
    ...(part === 'incoming' && server.migration?.mayShare ? { mayShare: true } : {}),
    portIds: isPlugged ? (server.ports ?? []).map((p) => p.portId) : [],
    ports: part === 'incoming' ? [...ports] : [],
    interfaces: [],
  };
};
