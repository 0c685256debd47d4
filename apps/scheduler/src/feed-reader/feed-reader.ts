import { conflict, type FeedReaderEvent, feedReaderEvents, type Instant, notFound } from '@omnivisor/contracts';
import type { Aggregate } from '@omnivisor/eventsourcing';

/** Somebody outside who hears what is published of the log. */
export interface FeedReader {
  readonly name: string;
  /** Null when it was never let in, or is no more. */
  readonly publicKey: string | null;
  readonly subjects: readonly string[];
  readonly expiresAt: Instant | null;
  /** Keys that are refused for good. */
  readonly revoked: readonly string[];
}

export type FeedReaderCommand =
  | {
      readonly type: 'admit';
      readonly name: string;
      readonly publicKey: string;
      readonly subjects: readonly string[];
      readonly expiresAt: Instant;
    }
  | { readonly type: 'revoke'; readonly name: string };

export const noReader: FeedReader = { name: '', publicKey: null, subjects: [], expiresAt: null, revoked: [] };

export const evolveReader = (reader: FeedReader, { type, data }: FeedReaderEvent): FeedReader =>
  type === 'FeedReaderAdmitted'
    ? { ...reader, ...data }
    : { ...noReader, name: data.name, revoked: [...reader.revoked, data.publicKey] };

const types = new Set(Object.keys(feedReaderEvents.events));
export const isFeedReaderEvent = (event: { readonly type: string }): event is FeedReaderEvent => types.has(event.type);

/** The rules of `feed-reader-<name>` streams: one key at a time, and none comes back. */
export const feedReaderAggregate: Aggregate<FeedReader, FeedReaderCommand, FeedReaderEvent> = {
  events: feedReaderEvents,
  initial: noReader,
  evolve: evolveReader,
  decide(command, reader) {
    const { name } = command;
    if (command.type === 'revoke') {
      if (reader.publicKey !== null)
        return [{ type: 'FeedReaderRevoked', data: { name, publicKey: reader.publicKey } }];
      if (reader.revoked.length > 0) return [];
      throw notFound(`no reader ${name}`);
    }
    const { type: _, subjects, ...data } = command;
    if (reader.revoked.includes(data.publicKey)) throw conflict('this key was revoked; make a new one');
    if (reader.publicKey !== null && reader.publicKey !== data.publicKey)
      throw conflict(`reader ${name} has another key; revoke it first`);
    return [{ type: 'FeedReaderAdmitted', data: { ...data, subjects: [...subjects] } }];
  },
};
