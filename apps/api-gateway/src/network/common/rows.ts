import {
  type DomainEvent,
  type EventSet,
  eventSets,
  type Instant,
  type Position,
  type RecordedEvent,
} from '@omnivisor/contracts';
import type { Projection, Table } from '@omnivisor/eventsourcing';

export interface Times {
  readonly createdAt: Instant;
  readonly updatedAt: Instant;
  /** Position of the newest event of the thing. */
  readonly changedAt: Position;
}

/** One row for each living thing: the state of its stream, with times. A deleted thing has no row. */
export const rowsOf = <
  State extends { readonly id: string | null; readonly deleted: boolean },
  Event extends DomainEvent,
  Row extends State & Times,
>(options: {
  readonly table: Table<Row>;
  readonly stream: string;
  readonly key: (event: Event) => string;
  readonly initial: State;
  readonly evolve: (state: State, event: Event) => State;
  readonly row: (state: State, times: Times) => Row;
}): Projection<Row> => {
  const set = eventSets.find((s) => s.stream === options.stream) as EventSet;
  return {
    table: options.table,
    keys: (event: RecordedEvent) => (event.type in set.events ? [options.key(event as unknown as Event)] : []),
    evolve: (before, event) => {
      const state = options.evolve(before ?? options.initial, event as unknown as Event);
      if (state.id === null || state.deleted) return undefined;
      const { recordedAt: updatedAt, position: changedAt } = event;
      return options.row(state, { createdAt: before?.createdAt ?? updatedAt, updatedAt, changedAt });
    },
  };
};
