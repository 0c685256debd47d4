import type { DomainEvent, EventSet } from '@omnivisor/contracts';

/**
 * The rules of one stream, as pure functions. Time, ids and random numbers arrive with the command: deciding twice
 * gives the same events.
 */
export interface Decider<State, Command, Event extends DomainEvent> {
  readonly initial: State;
  /**
   * What happens because of a command. What already holds gives no event: messages come twice.
   * @throws DomainError when the command must be refused
   */
  decide(command: Command, state: State): Event[];
  /** Never throws on a known event: it has accepted history. */
  evolve(state: State, event: Event): State;
}

/** A decider and the streams it rules. */
export interface Aggregate<State, Command, Event extends DomainEvent> extends Decider<State, Command, Event> {
  readonly events: EventSet;
  /** How the state of long streams is kept; without it they are folded from their first event. */
  readonly kept?: KeptState<State>;
}

/** A state as a JSON value that can be kept. No personal field may be in it: what is erased in the log would stay here. */
export interface KeptState<State> {
  /** Raised with each change of the fold, or of what is written. */
  readonly version: string;
  write(state: State): unknown;
  read(written: unknown): State;
}

// biome-ignore lint/suspicious/noExplicitAny: for what handles commands of whatever aggregates share a stream
export type AnyAggregate = Aggregate<any, any, any>;

export const streamOf = (set: EventSet, key: string): string => `${set.stream}-${key}`;
