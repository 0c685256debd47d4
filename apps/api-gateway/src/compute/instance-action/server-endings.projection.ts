import type { Instant, Position, ServerEvent } from '@omnivisor/contracts';
import { type Projection, type Table, table } from '@omnivisor/eventsourcing';
import { isServerEvent } from '../server/view/server.projection.js';

/** Nothing comes any more of what was asked of a server before, but for its deletion. */
export interface Ending {
  readonly position: Position;
  readonly at: Instant;
  readonly details: string;
  /** Only its state was set. */
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

const isEnding = (event: ServerEvent): boolean =>
  event.type === 'ServerStateReset' ? !event.data.keepsOperation : Object.hasOwn(ends, event.type);

export const serverEndingsProjection: Projection<ServerEndingsRow> = {
  table: serverEndingsTable,
  types: new Set(Object.keys(ends)),
  keys: (event) => (isServerEvent(event) && isEnding(event) ? [event.data.serverId] : []),
  evolve: (row, { type, position, recordedAt: at }) => {
    const reset: Pick<Ending, 'isReset'> = type === 'ServerStateReset' ? { isReset: true } : {};
    const ending: Ending = { position, at, details: ends[type as keyof typeof ends]!, ...reset };
    return { endings: [...(row?.endings ?? []), ending].slice(-KEPT) };
  },
};
