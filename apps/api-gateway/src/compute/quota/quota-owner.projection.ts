import {
  after,
  type Instant,
  type QuotaEvent,
  type RecordedEvent,
  type ServerEvent,
  seconds,
} from '@omnivisor/contracts';
import { type DueWork, dueTable, type Projection, type Table, table } from '@omnivisor/eventsourcing';
import { isServerEvent } from '../server/server.projection.js';
import { serverOwner } from './defaults.js';

/** A reservation of a server, until its owner stands in the log. Keys are `<project>/<owner>`. */
export interface QuotaOwnerRow {
  readonly projectId: string;
  readonly owner: string;
  readonly requestId: string;
  readonly eventId: string;
  readonly reservedAt: Instant;
}

export const quotaOwnerTable = table<QuotaOwnerRow>('quota_owners_v1');
export const QUOTA_PROCESS = 'quota-owner';
/** How long a reservation waits for its owner. */
const WAIT = seconds(60);

const isQuotaEvent = (event: { readonly stream: string }): event is RecordedEvent & QuotaEvent =>
  event.stream.startsWith('quota-');
const serverPrefix = 'server:';

/** Only reservations whose owner is not yet known have a row: those that may have to be taken back. */
export const quotaOwnerProjection: Projection<QuotaOwnerRow> = {
  table: quotaOwnerTable,
  keys: (event) => {
    if (isServerEvent(event) && event.type === 'ServerCreateRequested') {
      const { projectId, serverId } = (event as Extract<ServerEvent, { type: 'ServerCreateRequested' }>).data;
      return [`${projectId}/${serverOwner(serverId)}`];
    }
    if (isQuotaEvent(event) && (event.type === 'QuotaReserved' || event.type === 'QuotaReleased'))
      return event.data.owner.startsWith(serverPrefix) ? [`${event.data.projectId}/${event.data.owner}`] : [];
    return [];
  },
  evolve: (_, event) => {
    if (!isQuotaEvent(event) || event.type !== 'QuotaReserved') return undefined;
    return {
      projectId: event.data.projectId,
      owner: event.data.owner,
      requestId: event.context.requestId,
      eventId: event.id,
      reservedAt: event.recordedAt,
    };
  },
  derive: (key, row) => {
    const due: DueWork | undefined = row && { process: QUOTA_PROCESS, id: key, dueAt: after(row.reservedAt, WAIT) };
    return [{ table: dueTable as Table<never>, key: `${QUOTA_PROCESS}/${key}`, row: due }];
  },
};
