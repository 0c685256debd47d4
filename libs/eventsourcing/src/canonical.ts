import {
  type CommandContext,
  DomainError,
  invalid,
  MAX_EVENT_DATA_BYTES,
  type NewEvent,
  type RecordedEvent,
} from '@omnivisor/contracts';
import canonicalize from 'canonicalize';
import type { StoredEvent } from './event-store.js';

const LONE_SURROGATE = /\p{Surrogate}/u;

/**
 * RFC 8785 text of a JSON value: what is stored, and what is hashed.
 * @throws DomainError `invalid` when a text in it is no Unicode text
 */
export const canonicalText = (value: unknown): string => {
  let text: string | undefined;
  try {
    text = canonicalize(value);
  } catch (error) {
    if (error instanceof Error && error.message.startsWith('Lone surrogate'))
      throw invalid('a text has half of a character');
    throw error;
  }
  if (text === undefined) throw new Error('not a JSON value');
  return text;
};

/** The two texts an event is stored as. @throws DomainError `tooLarge`, `invalid` */
export const textsOf = (event: NewEvent): { payload: string; meta: string } => {
  const payload = canonicalText(event.data);
  if (Buffer.byteLength(payload) > MAX_EVENT_DATA_BYTES)
    throw new DomainError('tooLarge', `event ${event.type} exceeds ${MAX_EVENT_DATA_BYTES} bytes`);
  return { payload, meta: canonicalText({ schemaVersion: event.schemaVersion, ...event.context }) };
};

/** An event out of its texts. */
export const recordedOf = ({ payload, meta, ...stored }: StoredEvent): RecordedEvent => {
  const { schemaVersion, ...context } = JSON.parse(meta) as { schemaVersion: number } & CommandContext;
  return { ...stored, data: JSON.parse(payload), schemaVersion, context };
};

/** The texts of an event that was read; the same as it is stored as. */
export const storedOf = ({ data, schemaVersion, context, ...recorded }: RecordedEvent): StoredEvent => ({
  ...recorded,
  payload: canonicalText(data),
  meta: canonicalText({ schemaVersion, ...context }),
});

/** The command that an append belongs to: one for all of its events. */
export const commandOf = (events: readonly NewEvent[]): string => {
  const command = events[0]?.context.commandId;
  if (command === undefined) throw new Error('nothing to append');
  if (events.some((event) => event.context.commandId !== command)) throw new Error('an append is one command');
  return command;
};

/** Streams are named by us, but keys may come from callers. @throws DomainError `invalid` */
export const checkStream = (stream: string): void => {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
  if (stream.length === 0 || stream.length > 512 || /[\u0000-\u001f\u007f]/.test(stream) || LONE_SURROGATE.test(stream))
    throw invalid('a name has characters that cannot be used');
};
