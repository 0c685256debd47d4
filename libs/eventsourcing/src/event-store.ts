import {
  DomainError,
  type EventId,
  type Instant,
  type NewEvent,
  type Position,
  type RecordedEvent,
  type Revision,
} from '@omnivisor/contracts';

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

/** An event as it is stored: `payload` is its data, `meta` its schema version and context, as the texts that are hashed. */
export interface StoredEvent {
  readonly position: Position;
  readonly stream: string;
  readonly revision: Revision;
  readonly id: EventId;
  readonly type: string;
  readonly recordedAt: Instant;
  readonly payload: string;
  readonly meta: string;
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
export class EventStoreUnavailable extends DomainError {
  constructor(message: string, options?: { cause?: unknown }) {
    super('unavailable', message, options);
  }
}

/** The log itself is not whole: something was taken out of it, or put into it. */
export class LogDamaged extends Error {
  constructor(
    /** Of the first event that is not there. */
    readonly position: Position,
  ) {
    super(`the log has no event at position ${position}, but later ones`);
    this.name = 'LogDamaged';
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
  /**
   * Appends what several commands do to one stream, in order and together, each as `append` would at the revision that
   * the one before it leaves. None goes in behind one that was not appended now.
   * @param commands at least one
   * @returns results of the first commands; those without one found the stream changed, and have to be decided again
   * @throws as `append`: WrongExpectedRevision when not even the first could go in; what it says of one event holds for
   *   all of the commands
   */
  appendEach(
    stream: string,
    expected: Revision,
    commands: readonly (readonly NewEvent[])[],
  ): Promise<readonly AppendResult[]>;
  /** The events of a stream from a revision on; empty when there is none. */
  readStream(stream: string, from?: Revision): Promise<RecordedEvent[]>;
  /** At most `limit` events of all streams after a position, in order, without gaps in time: what is read is final. */
  readAll(after: Position, limit: number): Promise<RecordedEvent[]>;
  /** The same events as they are stored: what a seal is made of. */
  readStored(after: Position, limit: number): Promise<StoredEvent[]>;
  /** Position of the newest event; 0 for an empty log. Whatever was acknowledged before the call lies at or before it. */
  head(): Promise<Position>;
  /**
   * Calls `listener` after appends made through this object, with the position of the last. A wake-up, not a delivery;
   * the result ends it.
   */
  subscribe(listener: (position: Position) => void): () => void;
  close(): Promise<void>;
}
