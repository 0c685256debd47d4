import type { HostId, hostBus } from '@omnivisor/contracts';
import { isAccepting, isGivenUp, remainsOn } from '../server/state/server-moving.js';
import type { ServerRow } from '../server/view/server.projection.js';
import type { HostRow } from './host.projection.js';

/** True while the log asks this host for the change. The host's session is somebody else's question. */
export const isAskedFor = (
  change: hostBus.HostChange,
  host: Pick<HostRow, 'id' | 'quarantine'>,
  server: ServerRow | undefined,
): boolean => {
  const { kind, attempt } = change;
  const isPlaced = server?.onHost === host.id && server.placement?.attempt === attempt;
  const left = server && remainsOn(server, host.id as HostId, attempt);
  if (kind === 'discard') {
    const guest = host.quarantine[change.serverId];
    const isGivenUpByOperator = guest?.verdict === 'discard' && guest.attempt === attempt;
    return isGivenUpByOperator && !(isPlaced && (server.spawned || isAccepting(server))) && !left;
  }
  if (left) return kind === 'destroy' ? left.part === 'tombstone' : kind === 'receive' && left.part === 'incoming';
  if (!server || !isPlaced) return false;
  if (kind === 'release') return server.releaseRequested === true;
  if (kind === 'destroy') return server.deleteRequested && !server.releaseRequested;
  if (server.deleteRequested || server.held || kind === 'receive') return false;
  switch (kind) {
    case 'spawn':
      return !server.spawned || isGivenUp(server);
    case 'plug':
      return server.spawned;
    case 'interface':
      return (
        server.spawned &&
        (server.interfaces ?? []).some((i) => i.portId === change.portId && i.change === change.change)
      );
    case 'operate': {
      const { operation } = server;
      return server.spawned && operation?.generation === change.generation && !operation.done;
    }
  }
};
