import { DomainError, MAX_EVENT_DATA_BYTES, type NewEvent } from '@omnivisor/contracts';
import canonicalize from 'canonicalize';

/** RFC 8785 text of a JSON value: what is stored, and what is hashed. */
export const canonicalText = (value: unknown): string => {
  const text = canonicalize(value);
  if (text === undefined) throw new Error('not a JSON value');
  return text;
};

/** The two texts an event is stored as. @throws DomainError `tooLarge` */
export const textsOf = (event: NewEvent): { payload: string; meta: string } => {
  const payload = canonicalText(event.data);
  if (Buffer.byteLength(payload) > MAX_EVENT_DATA_BYTES)
    throw new DomainError('tooLarge', `event ${event.type} exceeds ${MAX_EVENT_DATA_BYTES} bytes`);
  return { payload, meta: canonicalText({ schemaVersion: event.schemaVersion, ...event.context }) };
};
