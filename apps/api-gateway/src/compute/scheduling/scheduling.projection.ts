import type { Instant, PlacementEvent, PlacementExplanation, Position, ProviderEvent } from '@omnivisor/contracts';
import { projection, table } from '@omnivisor/eventsourcing';

/** A placement decision for one attempt of a server, with its explanation. */
export interface SchedulingRow {
  readonly serverId: string;
  readonly attempt: number;
  readonly outcome: 'claimed' | 'refused';
  readonly providerId: string | null;
  readonly message: string | null;
  readonly explanation: PlacementExplanation;
  readonly eventId: string;
  readonly decidedAt: Instant;
  readonly position: Position;
}

export const schedulingTable = table<SchedulingRow>('scheduling_v1', ['serverId', 'attempt']);

const key = ({ data }: { readonly data: { readonly serverId: string; readonly attempt: number } }) =>
  `${data.serverId}/${data.attempt}`;

export const schedulingProjection = projection<ProviderEvent | PlacementEvent, SchedulingRow>(schedulingTable, {
  AllocationClaimed: {
    key,
    row: (_, { id, data, recordedAt, position }) => ({
      serverId: data.serverId,
      attempt: data.attempt,
      outcome: 'claimed',
      providerId: data.providerId,
      message: null,
      explanation: data.explanation,
      eventId: id,
      decidedAt: recordedAt,
      position,
    }),
  },
  PlacementRefused: {
    key,
    row: (_, { id, data, recordedAt, position }) => ({
      serverId: data.serverId,
      attempt: data.attempt,
      outcome: 'refused',
      providerId: null,
      message: data.message,
      explanation: data.explanation,
      eventId: id,
      decidedAt: recordedAt,
      position,
    }),
  },
});
