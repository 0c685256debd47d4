import type { CommandContext, Instant, RecordedEvent } from '@omnivisor/contracts';
import { type Table, table } from '@omnivisor/eventsourcing';
import type { GatewayCore } from '../core/gateway-core.js';

/** What something holds of sets that many share: its owner is on its way, there, or gone. */
export interface ReservationRow {
  /** `server`, or a resource of the network quota such as `port`. */
  readonly kind: string;
  readonly id: string;
  readonly projectId: string;
  /** What the owner is a part of, where it has no stream of its own. */
  readonly parent: string | null;
  /** What it holds, e.g. `quota` or `addresses`, and of what. */
  readonly holds: Readonly<Record<string, string>>;
  readonly owner: 'expected' | 'there' | 'gone';
  readonly since: Instant;
}

export const reservationTable: Table<ReservationRow> = table('reservations_v1');

interface Of {
  readonly kind: string;
  readonly id: string;
}

/** What an event says of a reservation. */
export type Reading =
  | (Of & {
      readonly takes: string;
      /** Of what, e.g. the network whose address it is. */
      readonly of: string;
      readonly projectId?: string;
      readonly parent?: string | undefined;
    })
  | (Of & { readonly gives: string })
  | (Of & { readonly owner: 'there' | 'gone' });

export type Readings = (event: RecordedEvent) => readonly Reading[];

/** How the reservations of one kind end. Both may be asked for twice. */
export interface ReservationKind {
  /**
   * Bars an owner that has not come, so that it cannot come late.
   * @returns false when it has come
   */
  bar(core: GatewayCore, row: ReservationRow, context: CommandContext): Promise<boolean>;
  giveBack(core: GatewayCore, row: ReservationRow, context: CommandContext): Promise<void>;
}
