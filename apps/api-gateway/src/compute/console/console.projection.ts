import type { ConsoleEvent, Instant, Position, RecordedEvent, ServerEvent } from '@omnivisor/contracts';
import { type Projection, projection, table } from '@omnivisor/eventsourcing';
import { isServerEvent } from '../server/view/server.projection.js';

export type ConsoleProtocol = ConsoleEvent['data']['protocol'];

/** A token that was given out for a console. Keys are the token's SHA-256. */
export interface ConsoleGrantRow {
  readonly fingerprint: string;
  readonly serverId: string;
  readonly projectId: string;
  readonly userId: string;
  readonly protocol: ConsoleProtocol;
  readonly type: string;
  readonly expiresAt: Instant;
  readonly grantedAt: Position;
}

export const consoleGrantTable = table<ConsoleGrantRow>('console_grants_v1', ['serverId']);

export const consoleGrantProjection = projection<ConsoleEvent, ConsoleGrantRow>(consoleGrantTable, {
  ConsoleAuthorized: {
    key: ({ data }) => data.fingerprint,
    row: (_, { data, position }) => ({ ...data, grantedAt: position }),
  },
});

/** Since when the grants of a server are void. */
export interface ConsoleRevocationRow {
  readonly serverId: string;
  readonly revokedAt: Position;
}

export const consoleRevocationTable = table<ConsoleRevocationRow>('console_revocations_v1');

const ends = new Set<ServerEvent['type']>([
  'ServerStopRequested',
  'ServerStopped',
  'ServerDeleteRequested',
  'ServerReleaseRequested',
  'ServerDeleted',
  'ServerGuestMissing',
  'ServerGuestLost',
]);

export const consoleRevocationProjection: Projection<ConsoleRevocationRow> = {
  table: consoleRevocationTable,
  keys: (event) => (isServerEvent(event) && ends.has(event.type) ? [event.data.serverId] : []),
  evolve: (_, event) => ({
    serverId: (event as RecordedEvent & ServerEvent).data.serverId,
    revokedAt: event.position,
  }),
};
