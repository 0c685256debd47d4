import type { NewEvent, Position, RecordedEvent, Revision } from '@omnivisor/contracts';

export interface AppendResult {
  /** Revision of the last appended event. */
  readonly revision: Revision;
  /** Position of the last appended event. */
  readonly position: Position;
  /** The events as they stand in the log. */
  readonly events: readonly RecordedEvent[];
  /** True when the command had been appended before: this is its first result. */
  readonly duplicate: boolean;
}

/** The stream has moved on. Read it again and decide again; never retry the same events blindly. */
export class WrongExpectedRevision extends Error {
  constructor(
    readonly stream: string,
    readonly expected: Revision,
    readonly actual: Revision,
  ) {
    super(`stream ${stream} is at revision ${actual}, not ${expected}`);
    this.name = 'WrongExpectedRevision';
  }
}

/**
 * The outcome of an append is unknown, or the store cannot be reached. Appending again with the same command ids is
 * safe; with new ones it is not.
 */
export class EventStoreUnavailable extends Error {
  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'EventStoreUnavailable';
  }
}

/**
 * The log. One behaviour suite (`/testing`) runs over every adapter.
 *
 * Durable when a promise resolves. Positions are totally ordered; an adapter may leave holes between them.
 */
export interface EventStore {
  /**
   * Appends to one stream, all events or none.
   * @param expected revision the stream must be at; `NO_STREAM` when it must not exist
   * @param events at least one; the same `context.commandId` appended to this stream before gives the first result
   *   again, whatever `expected` says
   * @throws WrongExpectedRevision
   * @throws EventStoreUnavailable
   * @throws DomainError `tooLarge` when an event's data exceeds 64 KiB of canonical text
   */
  append(stream: string, expected: Revision, events: readonly NewEvent[]): Promise<AppendResult>;
  /** The events of a stream from a revision on; empty when there is none. */
  readStream(stream: string, from?: Revision): Promise<RecordedEvent[]>;
  /** At most `limit` events of all streams after a position, in order, without gaps in time: what is read is final. */
  readAll(after: Position, limit: number): Promise<RecordedEvent[]>;
  /** Position of the newest event; 0 for an empty log. Whatever was acknowledged before the call lies at or before it. */
  head(): Promise<Position>;
  /**
   * Calls `listener` after appends made through this object, with the position of the last. A wake-up, not a delivery;
   * the result ends it.
   */
  subscribe(listener: (position: Position) => void): () => void;
  close(): Promise<void>;
}
