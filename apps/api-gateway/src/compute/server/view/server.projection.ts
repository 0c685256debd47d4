import type { Instant, Position, RecordedEvent, ServerEvent } from '@omnivisor/contracts';
import { type DueWork, dueTable, type Projection, type RowChange, type Table, table } from '@omnivisor/eventsourcing';
import { type MigrationAt, migrationAt, migrationOf } from '../../migration/migration.projection.js';
import { evolve } from '../lifecycle/server-evolve.js';
import { nextStep, SERVER_PROCESS } from '../lifecycle/server-next-step.js';
import { noServer, type Server } from '../state/server.js';

/** The request that the server works on: what its host reports belongs to it. */
export interface Pending {
  readonly requestId: string;
  readonly correlationId: string;
  readonly eventId: string;
}

/** A server as the API reads it: its state, and when things happened. */
export interface ServerRow extends Server {
  readonly id: NonNullable<Server['id']>;
  readonly createdAt: Instant;
  readonly updatedAt: Instant;
  readonly launchedAt: Instant | null;
  readonly terminatedAt: Instant | null;
  readonly faultAt: Instant | null;
  /** When the running task began; null when none runs. */
  readonly taskSince: Instant | null;
  readonly pending: Pending | null;
  /** The requests that interfaces wait for, by port. */
  readonly interfaceRequests?: Readonly<Record<string, Pending>>;
  /** Of the newest migration: what its events tell beside its state. */
  readonly migrationAt?: MigrationAt | undefined;
  readonly deleted: boolean;
  readonly host: string | null;
  readonly hostId: string | null;
  /** The host that has something of the server, or has not yet confirmed that it has nothing. */
  readonly onHost: string | null;
  readonly node: string | null;
  readonly availabilityZone: string | null;
  readonly imageId: string;
  readonly flavorId: string;
  readonly addresses: readonly string[];
  /** Position of the newest event of the server. */
  readonly changedAt: Position;
}

export const serverTable = table<ServerRow>(
  'servers_v6',
  ['projectId', 'deleted', 'createdAt'],
  ['deleted', 'createdAt'],
  ['onHost', 'changedAt'],
);

/** What a host has of a server that is placed on another one. */
export interface RemainsRow {
  readonly serverId: string;
  readonly hostId: string;
  readonly changedAt: Position;
}
/** Keys are `<server>/<attempt>`. */
export const remainsTable = table<RemainsRow>('server_remains_v1', ['hostId', 'changedAt']);

const remainsOf = (id: string, row: ServerRow | undefined): RowChange[] => {
  const known = new Map((row?.remains ?? []).map(({ placement }) => [placement.attempt, placement.host]));
  return Array.from({ length: row?.remains ? row.attempt : 0 }, (_, i) => {
    const hostId = known.get(i + 1);
    const left = hostId && { serverId: id, hostId, changedAt: row!.changedAt };
    return { table: remainsTable as Table<never>, key: `${id}/${i + 1}`, row: left || undefined };
  });
};

const opensTask = new Set<ServerEvent['type']>([
  'ServerCreateRequested',
  'ServerAdoptionRequested',
  'ServerStartRequested',
  'ServerStopRequested',
  'ServerRebootRequested',
  'ServerPauseRequested',
  'ServerUnpauseRequested',
  'ServerSuspendRequested',
  'ServerResumeRequested',
  'ServerRebuildRequested',
  'ServerResizeRequested',
  'ServerResizeConfirmRequested',
  'ServerResizeRevertRequested',
  'ServerMigrateRequested',
  'ServerLiveMigrateRequested',
  'ServerMigrationConfirmed',
  'ServerSnapshotRequested',
  'ServerRescueRequested',
  'ServerUnrescueRequested',
  'ServerDeleteRequested',
  'ServerReleaseRequested',
]);

/** True for events of `server-<id>` streams. */
export const isServerEvent = (event: { readonly stream: string }): event is RecordedEvent & ServerEvent =>
  event.stream.startsWith('server-');

const taskSince = (before: ServerRow | undefined, after: Server, at: Instant): Instant | null => {
  if (after.taskState === null) return null;
  const building = (task: string | null | undefined) => task === 'scheduling' || task === 'spawning';
  // Building is one task from the request to the guest, whatever step it is in.
  const same = before?.taskState === after.taskState || (building(before?.taskState) && building(after.taskState));
  return same && before?.taskSince ? before.taskSince : at;
};

const pendingOf = ({ id, context: { requestId, correlationId } }: RecordedEvent): Pending => ({
  requestId,
  correlationId,
  eventId: id,
});

const interfaceRequests = (
  before: ServerRow | undefined,
  { interfaces }: Server,
  event: RecordedEvent & ServerEvent,
): Pick<ServerRow, 'interfaceRequests'> => {
  if (!interfaces) return {};
  const known = before?.interfaceRequests ?? {};
  const open = interfaces.flatMap(({ portId }) => (known[portId] ? [[portId, known[portId]] as const] : []));
  const asked =
    event.type === 'ServerInterfaceAttachRequested'
      ? event.data.port.portId
      : event.type === 'ServerInterfaceDetachRequested'
        ? event.data.portId
        : null;
  return { interfaceRequests: Object.fromEntries(asked === null ? open : [...open, [asked, pendingOf(event)]]) };
};

export const serverProjection: Projection<ServerRow> = {
  table: serverTable,
  keys: (event) => (isServerEvent(event) ? [event.data.serverId] : []),
  evolve: (before, event) => {
    const e = event as RecordedEvent & ServerEvent;
    const at = event.recordedAt;
    const after = evolve(before ?? noServer, e);
    if (after.id === null) return undefined;
    const ended = e.type === 'ServerDeleted' || before?.deleted === true;
    const ending = ended || after.deleteRequested;
    return {
      ...after,
      id: after.id,
      createdAt: before?.createdAt ?? at,
      updatedAt: at,
      launchedAt: before?.launchedAt ?? (e.type === 'ServerSpawned' ? at : null),
      terminatedAt: before?.terminatedAt ?? (e.type === 'ServerDeleted' ? at : null),
      faultAt: after.fault === null ? null : after.fault === before?.fault ? before.faultAt : at,
      taskSince: taskSince(before, after, at),
      pending: opensTask.has(e.type) ? pendingOf(event) : (before?.pending ?? null),
      ...interfaceRequests(before, after, e),
      migrationAt: migrationAt(before?.migration, before?.migrationAt, after.migration, event),
      deleted: ended,
      // What the server was on stays readable after its deletion.
      host: after.placement?.hostName ?? (ending ? (before?.host ?? null) : null),
      hostId: after.placement?.host ?? (ending ? (before?.hostId ?? null) : null),
      onHost: after.placement?.host ?? null,
      node: after.placement?.node ?? (ending ? (before?.node ?? null) : null),
      availabilityZone: after.placement?.availabilityZone ?? before?.availabilityZone ?? null,
      imageId: after.image.id,
      flavorId: after.flavor.id,
      addresses: (after.ports ?? []).flatMap((p) => p.fixedIps.map((ip) => ip.address)),
      changedAt: event.position,
    };
  },
  shed: (before, after) => (before?.migration?.id === after?.migration?.id ? [] : migrationOf(before)),
  derive: (id, row) => {
    const next = row && nextStep(row);
    const due: DueWork | undefined = next ? { process: SERVER_PROCESS, id, dueAt: next.at } : undefined;
    return [
      { table: dueTable as Table<never>, key: `${SERVER_PROCESS}/${id}`, row: due },
      ...remainsOf(id, row),
      ...migrationOf(row),
    ];
  },
};
