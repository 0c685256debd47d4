import type { Instant, Position } from '@omnivisor/contracts';
import { type Hash } from './merkle.js';
import { NoteError, type NoteSigner, type NoteVerifier, openNote, signNote } from './note.js';
import { HASH_BYTES } from './tiles.js';

/** What a checkpoint says of the log: its first `size` events have this root. */
export interface TreeHead {
  /** Which log. */
  readonly origin: string;
  readonly size: number;
  readonly root: Hash;
  /** Position of the last of these events. */
  readonly position: Position;
  /** When that event was recorded. */
  readonly recordedAt: Instant;
}

/** A tree head as it was signed: a C2SP tlog-checkpoint with two lines of extension. */
export interface Checkpoint {
  readonly size: number;
  readonly position: Position;
  readonly note: string;
}

export const signCheckpoint = (head: TreeHead, signers: readonly NoteSigner[]): Checkpoint => ({
  size: head.size,
  position: head.position,
  note: signNote(
    `${head.origin}\n${head.size}\n${head.root.toString('base64')}\nposition ${head.position}\nrecorded-at ${head.recordedAt}\n`,
    signers,
  ),
});

/** @throws NoteError when it is no checkpoint of ours, or no known key of the log it names has signed it */
export const openCheckpoint = (note: string, keys: readonly NoteVerifier[]): TreeHead => {
  const { text, signedBy } = openNote(note, keys);
  const [origin, size, root, position, recordedAt, ...rest] = text.split('\n');
  const hash = Buffer.from(root ?? '', 'base64');
  const [, at] = /^position (\d{1,16})$/.exec(position ?? '') ?? [];
  const [, time] = /^recorded-at (\S+)$/.exec(recordedAt ?? '') ?? [];
  const isWhole = /^(0|[1-9]\d{0,15})$/.test(size ?? '') && hash.length === HASH_BYTES;
  if (!origin || !isWhole || at === undefined || time === undefined || rest.join('') !== '')
    throw new NoteError('not a checkpoint of a log of ours');
  if (!signedBy.some((key) => key.name === origin)) throw new NoteError(`no key of ${origin} has signed it`);
  return { origin, size: Number(size), root: hash, position: Number(at), recordedAt: time as Instant };
};
