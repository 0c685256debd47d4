import type { Position } from '@omnivisor/contracts';

/** What an event is found by. */
export interface IndexEntry {
  readonly position: Position;
  readonly type: string;
  /** Whose matter it is; null for the cloud's own. */
  readonly project: string | null;
  /** Id of the user, or name of the service, that caused it. */
  readonly actor: string;
  /** Ids of what it speaks of. */
  readonly resources: readonly string[];
}

/** Which events; all that is given has to hold. */
export interface IndexQuery {
  readonly project?: string | null;
  readonly actor?: string;
  readonly types?: readonly string[];
  readonly resource?: string;
  /** Events after this position. */
  readonly after: Position;
  /** Events up to this position. */
  readonly until: Position;
  readonly order: 'oldest first' | 'newest first';
  readonly limit: number;
}

/** Where in the log the events of a project, an actor, a type or a resource are. Derived from the log, behind it. */
export interface EventIndex {
  /** Makes what is missing. */
  prepare(): Promise<void>;
  checkpoint(): Promise<Position>;
  /**
   * Runs `work` from the checkpoint, then keeps its entries and the new checkpoint together or not at all. Any replica
   * may do so; when another one was faster, `work` is run again from where that one came to.
   * @returns the checkpoint afterwards
   */
  advance(work: (from: Position) => Promise<{ to: Position; entries: readonly IndexEntry[] }>): Promise<Position>;
  find(query: IndexQuery): Promise<Position[]>;
  close(): Promise<void>;
}
