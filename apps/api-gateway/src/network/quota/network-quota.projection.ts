import type { NetworkQuotaEvent } from '@omnivisor/contracts';
import { projection, type Table, table } from '@omnivisor/eventsourcing';

/** A project with limits of its own. */
export interface NetworkLimitsRow {
  readonly projectId: string;
  readonly limits: Readonly<Record<string, number>>;
}

export const networkLimitsTable: Table<NetworkLimitsRow> = table('network_limits_v1');

export const networkQuotaProjection = projection<NetworkQuotaEvent, NetworkLimitsRow>(networkLimitsTable, {
  NetworkQuotaLimitsSet: {
    key: (e) => e.data.projectId,
    row: (row, e) => ({ projectId: e.data.projectId, limits: { ...row?.limits, ...e.data.limits } }),
  },
  NetworkQuotaLimitsReset: { key: (e) => e.data.projectId, row: () => undefined },
});
