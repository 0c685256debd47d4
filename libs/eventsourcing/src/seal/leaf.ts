import type { StoredEvent } from '../event-store.js';
import { type Hash, leafHash } from './merkle.js';

/**
 * The text that is hashed for an event: RFC 8785 of {ordinal, stream, revision, id, type, recordedAt, payload, meta}.
 * `ordinal` counts the events of the log from 0; payload and meta are texts as they are stored.
 */
export const leafText = (ordinal: number, event: StoredEvent): string => {
  // Members in the order of their names; JSON.stringify writes texts and whole numbers as RFC 8785 asks.
  const { id, meta, payload, recordedAt, revision, stream, type } = event;
  return JSON.stringify({ id, meta, ordinal, payload, recordedAt, revision, stream, type });
};

export const leafOf = (ordinal: number, event: StoredEvent): Hash => leafHash(leafText(ordinal, event));
