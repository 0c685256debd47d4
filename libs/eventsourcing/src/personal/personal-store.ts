import {
  eventSetOf,
  joinPersonal,
  type NewEvent,
  type PersonalSubject,
  type Position,
  personalFieldsOf,
  type RecordedEvent,
  type Revision,
  splitPersonal,
} from '@omnivisor/contracts';
import type { AppendResult, EventStore, StoredEvent } from '../event-store.js';
import { BOX, type Box, boxOf, closeBox, openBox } from './box.js';
import type { PersonalKeys } from './personal-keys.js';

type Data = Readonly<Record<string, unknown>>;

/**
 * A log whose personal fields stand in it under the key of their subject. Who reads through it sees them as they were
 * written, and as `erased` once the key is destroyed; who reads the log itself always sees the latter, and beside them
 * what they were, closed. Events of older releases, which have them in the clear, are read as they stand.
 */
export class PersonalStore implements EventStore {
  constructor(
    private readonly log: EventStore,
    private readonly keys: PersonalKeys,
  ) {}

  async append(stream: string, expected: Revision, events: readonly NewEvent[]): Promise<AppendResult> {
    const [result] = await this.appendEach(stream, expected, [events]);
    return result!;
  }

  appendEach(
    stream: string,
    expected: Revision,
    commands: readonly (readonly NewEvent[])[],
  ): Promise<readonly AppendResult[]> {
    const has = commands.some((events) => events.some(({ type }) => personalFieldsOf(type).length > 0));
    return has ? this.appendClosed(stream, expected, commands) : this.log.appendEach(stream, expected, commands);
  }

  async readStream(stream: string, from?: Revision): Promise<RecordedEvent[]> {
    return this.open(await this.log.readStream(stream, from));
  }

  async readAll(after: Position, limit: number): Promise<RecordedEvent[]> {
    return this.open(await this.log.readAll(after, limit));
  }

  readStored(after: Position, limit: number): Promise<StoredEvent[]> {
    return this.log.readStored(after, limit);
  }

  head(): Promise<Position> {
    return this.log.head();
  }

  subscribe(listener: (position: Position) => void): () => void {
    return this.log.subscribe(listener);
  }

  close(): Promise<void> {
    return this.log.close();
  }

  private async appendClosed(
    stream: string,
    expected: Revision,
    commands: readonly (readonly NewEvent[])[],
  ): Promise<AppendResult[]> {
    const closed: NewEvent[][] = [];
    const first = commands[0]?.[0];
    for (const events of commands)
      closed.push(await Promise.all(events.map((event) => this.closed(stream, event, first))));
    const results = await this.log.appendEach(stream, expected, closed);
    return Promise.all(results.map(async (result) => ({ ...result, events: await this.open(result.events) })));
  }

  /** @param first of the events that are appended with it: that of the stream, when the stream has none yet */
  private async closed(stream: string, event: NewEvent, first: NewEvent | undefined): Promise<NewEvent> {
    const parts = splitPersonal(event.type, event.data);
    if (!parts) return event;
    const key = await this.keys.of(await this.subjectOf(stream, event, first), event.context);
    const box = key && closeBox(key.ref, key.key, stream, event.type, parts.values);
    return { ...event, data: box ? { ...parts.rest, [BOX]: box } : parts.rest };
  }

  private async subjectOf(stream: string, { type, data }: NewEvent, first?: NewEvent): Promise<PersonalSubject> {
    const set = eventSetOf(type);
    const named = set?.subject?.(data as Data);
    if (named) return named;
    const begin = (await this.log.readStream(stream))[0] ?? first;
    const subject = begin && set?.subject?.(begin.data as Data);
    if (!subject) throw new Error(`the personal fields of ${type} in ${stream} are nobody's`);
    return subject;
  }

  private async open(events: readonly RecordedEvent[]): Promise<RecordedEvent[]> {
    const boxes = events.map(({ data }) => boxOf(data));
    if (!boxes.some((box) => box !== undefined)) return events as RecordedEvent[];
    const refs = [...new Set(boxes.flatMap((box) => box?.key ?? []))];
    const keys = new Map(await Promise.all(refs.map(async (ref) => [ref, await this.keys.key(ref)] as const)));
    return events.map((event, i) => {
      const box = boxes[i];
      return box ? opened(event, box, keys.get(box.key) ?? null) : event;
    });
  }
}

const opened = (event: RecordedEvent, box: Box, key: Buffer | null): RecordedEvent => {
  const { [BOX]: _, ...rest } = event.data as Data;
  return { ...event, data: key ? joinPersonal(rest, openBox(box, key, event.stream, event.type)) : rest };
};
