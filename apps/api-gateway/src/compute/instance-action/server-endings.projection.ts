import type { Instant, Position, ServerEvent } from '@omnivisor/contracts';
import { type Projection, type Table, table } from '@omnivisor/eventsourcing';
import { isServerEvent } from '../server/view/server.projection.js';

/** Nothing comes any more of what was asked of a server before, but for its deletion. */
export interface Ending {
  readonly position: Position;
  readonly at: Instant;
  readonly details: string;
  /** Only what the server does itself: hosts go on with the rest. */
  readonly isReset?: true;
}

export interface ServerEndingsRow {
  /** The newest ones, oldest first. */
  readonly endings: readonly Ending[];
}

export const serverEndingsTable: Table<ServerEndingsRow> = table('server_endings_v1');

const KEPT = 16;

const ends: { readonly [T in ServerEvent['type']]?: string } = {
  ServerDeleteRequested: 'The server was deleted.',
  ServerReleaseRequested: 'The server was given back.',
  ServerDeleted: 'The server was deleted.',
  ServerGuestMissing: 'The guest is no longer on its host.',
  ServerGuestLost: 'The host of the server has left the cloud.',
  ServerStateReset: 'An administrator set the state by hand.',
};

export const serverEndingsProjection: Projection<ServerEndingsRow> = {
  table: serverEndingsTable,
  types: new Set(Object.keys(ends)),
  keys: (event) => (isServerEvent(event) && Object.hasOwn(ends, event.type) ? [event.data.serverId] : []),
  evolve: (row, event) => {
    const { type, position, recordedAt: at, data } = event;
    const before = row?.endings ?? [];
    const isReset = type === 'ServerStateReset';
    if (isReset && (data as { keepsOperation?: true }).keepsOperation) return { endings: before };
    const ending = { position, at, details: ends[type as keyof typeof ends]!, ...(isReset ? { isReset } : {}) };
    return { endings: [...before, ending].slice(-KEPT) };
  },
};
