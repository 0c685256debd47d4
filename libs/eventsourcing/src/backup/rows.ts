/** Rows of a backup, a JSON line each. Times are milliseconds since 1970, bytes are base64. */
export interface EventLine {
  readonly position: number;
  readonly stream: string;
  readonly revision: number;
  readonly id: string;
  readonly type: string;
  /** At the first event of a command: its id, and how many events it has. */
  readonly command: string | null;
  readonly size: number | null;
  readonly payload: string;
  readonly meta: string;
  readonly at: number;
}

export interface CheckpointLine {
  readonly size: number;
  readonly position: number;
  readonly note: string;
}

export interface TileLine {
  readonly level: number;
  readonly index: number;
  readonly hashes: string;
}

/** A secret as the vault has it: closed by its master key. */
export interface SecretLine {
  readonly ref: string;
  readonly kind: string;
  readonly keyId: string;
  readonly nonce: string;
  readonly body: string;
  readonly at: number;
}

/** What a backup has of the database; read models are folded again from the log. */
export interface Lines {
  readonly events: AsyncIterable<EventLine>;
  readonly checkpoints: AsyncIterable<CheckpointLine>;
  readonly tiles: AsyncIterable<TileLine>;
  readonly secrets: AsyncIterable<SecretLine>;
}
