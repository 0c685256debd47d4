import type { hostBus } from '@omnivisor/contracts';
import type { z } from 'zod';
import type { Operation } from '../server/server.js';
import type { ServerRow } from '../server/server.projection.js';

export type DesiredServer = z.input<typeof hostBus.DesiredServer>;
type PortPlug = z.input<typeof hostBus.PortPlug>;

const operationOf = ({
  imageBefore: _,
  snapshot: __,
  ...operation
}: Operation): NonNullable<DesiredServer['operation']> => operation;

/** What the log wants of a server that is placed on a host. */
export const desiredOf = (server: ServerRow, ports: readonly PortPlug[]): DesiredServer => ({
  serverId: server.id,
  projectId: server.projectId,
  attempt: server.placement!.attempt,
  tombstone: server.deleteRequested && !server.releaseRequested,
  ...(server.releaseRequested ? { release: true } : {}),
  ...(server.adoption ? { adoption: { nativeId: server.adoption.nativeId } } : {}),
  spawned: server.spawned,
  power: server.wantedPower,
  build: server.build ?? 0,
  operation: server.operation && operationOf(server.operation),
  name: server.hostname,
  flavor: server.flavor,
  image: server.image,
  configDrive: server.configDrive,
  portIds: (server.ports ?? []).map((p) => p.portId),
  ports: [...ports],
  interfaces: (server.interfaces ?? []).map(({ portId, change }) => ({ portId, change })),
});
