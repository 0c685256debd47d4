import {
  after,
  type CommandContext,
  type CommandId,
  type Instant,
  type ProjectId,
  type QuotaEvent,
  type RequestId,
  type ServerEvent,
  type ServerId,
  seconds,
} from '@omnivisor/contracts';
import {
  type DueWork,
  dueTable,
  type Process,
  type Projection,
  projection,
  type Table,
  table,
} from '@omnivisor/eventsourcing';
import type { GatewayCore } from '../../core/gateway-core.js';
import { quotaAggregate } from '../quota/quota.js';
import { serverAggregate } from './server-lifecycle.js';

/** Quota that a server holds, from the reservation to its release. */
interface ReservationRow {
  readonly projectId: string;
  readonly owner: string;
  /** When it was made; null once its server was accepted. */
  readonly waitingSince: Instant | null;
}

const reservationTable = table<ReservationRow>('server_reservations_v1');
const PROCESS = 'server-reservation';
/** A request that was not accepted by then never will be. */
const PATIENCE = seconds(60);

export const ownerOf = (serverId: string) => `server:${serverId}`;

const byOwner = ({ data }: { readonly data: { readonly owner: string } }) =>
  data.owner.startsWith('server:') ? data.owner : [];

const rows = projection<QuotaEvent | ServerEvent, ReservationRow>(reservationTable, {
  QuotaReserved: {
    key: byOwner,
    row: (_, { data, recordedAt }) => ({ projectId: data.projectId, owner: data.owner, waitingSince: recordedAt }),
  },
  ServerCreateRequested: {
    key: ({ data }) => ownerOf(data.serverId),
    row: (row) => row && { ...row, waitingSince: null },
  },
  QuotaReleased: { key: byOwner, row: () => undefined },
});

export const reservationProjection: Projection<ReservationRow> = {
  ...rows,
  derive: (key, row) => {
    const due: DueWork | undefined = row?.waitingSince
      ? { process: PROCESS, id: key, dueAt: after(row.waitingSince, PATIENCE) }
      : undefined;
    return [{ table: dueTable as Table<never>, key: `${PROCESS}/${key}`, row: due }];
  },
};

/**
 * Gives back what a request took that never became a server: bars the server's id first, so that the request cannot come
 * late.
 */
export class ReservationProcess implements Process {
  readonly name = PROCESS;

  constructor(private readonly core: GatewayCore) {}

  async step(owner: string): Promise<void> {
    const row = await (await this.core.fresh()).get(reservationTable, owner);
    if (!row?.waitingSince) return;
    const serverId = owner.slice('server:'.length) as ServerId;
    const context: CommandContext = {
      actor: { kind: 'service', service: 'api-gateway' },
      requestId: `req-${serverId}` as RequestId,
      correlationId: `req-${serverId}` as RequestId,
      causationId: null,
      commandId: `${PROCESS}:${owner}` as CommandId,
    };
    const { state } = await this.core.commands.execute(
      serverAggregate,
      serverId,
      { type: 'abandonCreate', serverId },
      context,
    );
    if (state.abandoned)
      await this.core.commands.execute(
        quotaAggregate,
        row.projectId,
        { type: 'release', projectId: row.projectId as ProjectId, owner },
        context,
      );
  }
}
