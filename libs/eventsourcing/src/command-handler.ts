import {
  type CommandContext,
  DomainError,
  type DomainEvent,
  type EventSet,
  type Milliseconds,
  type NewEvent,
  NO_STREAM,
  type Position,
  type RecordedEvent,
  type Revision,
  seconds,
  unavailable,
} from '@omnivisor/contracts';
import { LRUCache } from 'lru-cache';
import { type Aggregate, type AnyAggregate, streamOf } from './decider.js';
import { type AppendResult, type EventStore, WrongExpectedRevision } from './event-store.js';
import { UnknownEvent } from './projection.js';
import type { StreamKeeper } from './stream-keeper.js';

export interface Outcome<State> {
  readonly state: State;
  readonly revision: Revision;
  /** Position of the last event of this command; 0 when it changed nothing. */
  readonly position: Position;
  readonly events: readonly RecordedEvent[];
}

/** A stream as it stood at a revision. */
export interface StreamState {
  readonly state: unknown;
  readonly revision: Revision;
}

export interface CommandHandlerOptions {
  readonly clock: { after(duration: Milliseconds, action: () => void): () => void };
  /** Told of each event that this process appended, in the order of its stream. */
  readonly onAppended?: (event: RecordedEvent) => void;
  /** A stream as something else knows it, to go on from when this process has not read it yet. */
  readonly known?: (stream: string) => StreamState | undefined;
  /** Keeps the state of long streams beyond this process. */
  readonly keeper?: StreamKeeper;
  /** Streams whose state is remembered. */
  readonly cacheSize?: number;
  /** Commands of one stream that may wait. */
  readonly waiting?: number;
  /** How long a command may wait for those before it. */
  readonly patience?: Milliseconds;
}

interface Waiting {
  readonly aggregate: AnyAggregate;
  readonly command: unknown;
  readonly context: CommandContext;
  resolve(outcome: Outcome<unknown>): void;
  reject(error: unknown): void;
  cancelDeadline(): void;
}

/** What a command does, on the state that those before it leave. */
interface Decided {
  readonly waiting: Waiting;
  readonly events: readonly NewEvent[];
  readonly refusal?: { readonly error: unknown };
}

/** Each conflict means that another process got through; so many in a row mean a stream that is fought over. */
const MAX_CONFLICTS = 50;
const MAX_BATCH = 200;

/**
 * Decides commands on the folded state of their stream and appends at the expected revision; after a conflict it reads
 * what is new and decides again. Commands that wait for one stream go out together, each decided on the state that the
 * ones before it leave. Folded states are kept: the expected revision makes a stale one harmless.
 */
export class CommandHandler {
  private readonly cache: LRUCache<string, StreamState>;
  private readonly lines = new Map<string, Waiting[]>();

  constructor(
    private readonly store: EventStore,
    private readonly options: CommandHandlerOptions,
  ) {
    this.cache = new LRUCache({ max: options.cacheSize ?? 5_000 });
  }

  /**
   * @throws DomainError as the decider refuses; `unavailable` after too many conflicts, and when too many commands
   *   wait for the stream or this one has waited too long: it was not carried out then; EventStoreUnavailable
   */
  execute<S, C, E extends DomainEvent>(
    aggregate: Aggregate<S, C, E>,
    key: string,
    command: C,
    context: CommandContext,
  ): Promise<Outcome<S>> {
    const stream = streamOf(aggregate.events, key);
    const line = this.lines.get(stream);
    const { waiting = 1_000, patience = seconds(5), clock } = this.options;
    if (line && line.length >= waiting)
      return Promise.reject(unavailable('too many changes of the same thing are waiting'));
    return new Promise((resolve, reject) => {
      const answer = (outcome: Outcome<unknown>) => resolve(outcome as Outcome<S>);
      const entry: Waiting = { aggregate, command, context, resolve: answer, reject, cancelDeadline: () => {} };
      if (!line) {
        const begun = [entry];
        this.lines.set(stream, begun);
        void this.work(stream, begun);
        return;
      }
      line.push(entry);
      entry.cancelDeadline = clock.after(patience, () => {
        line.splice(line.indexOf(entry), 1);
        reject(unavailable('other changes of the same thing take too long'));
      });
    });
  }

  /** The folded state of a stream as it stands in the log now. */
  async load<S, C, E extends DomainEvent>(aggregate: Aggregate<S, C, E>, key: string): Promise<S> {
    const stream = streamOf(aggregate.events, key);
    return (await this.refresh(aggregate, stream, this.known(aggregate, stream))).state as S;
  }

  /** The folded state of a stream as this process remembers it, which may be behind the log; undefined when it does not. */
  remembered<S, C, E extends DomainEvent>(aggregate: Aggregate<S, C, E>, key: string): S | undefined {
    return this.cache.get(streamOf(aggregate.events, key))?.state as S | undefined;
  }

  private async work(stream: string, line: Waiting[]): Promise<void> {
    // What arrives in the same turn belongs to the same batch.
    await Promise.resolve();
    while (line.length > 0) {
      const batch = line.splice(0, MAX_BATCH);
      for (const { cancelDeadline } of batch) cancelDeadline();
      await this.carryOut(stream, batch);
    }
    this.lines.delete(stream);
  }

  /** Answers each command of a batch; never rejects. */
  private async carryOut(stream: string, batch: readonly Waiting[]): Promise<void> {
    let open = batch;
    try {
      const { aggregate } = batch[0]!;
      let current = this.known(aggregate, stream);
      let fresh = false;
      for (let conflicts = 0; open.length > 0; ) {
        const plan = decideAll(open, current);
        if (!fresh && plan.some(({ events }) => events.length === 0)) {
          // A refusal rests on the log as it is, not on a state that this process remembers.
          const { revision } = current;
          current = await this.refresh(aggregate, stream, current);
          fresh = true;
          if (current.revision !== revision) continue;
        }
        try {
          const done = await this.append(stream, current, plan);
          open = open.slice(done.answered);
          current = done.state;
        } catch (error) {
          if (!(error instanceof WrongExpectedRevision)) throw error;
          // A log that is behind what this process remembers is another log: one that was restored.
          if (error.actual < current.revision) {
            this.cache.delete(stream);
            current = { state: aggregate.initial, revision: NO_STREAM };
          }
        }
        if (open.length === 0) return;
        if (++conflicts > MAX_CONFLICTS) throw unavailable('too many changes at the same time');
        current = await this.refresh(aggregate, stream, current);
        fresh = true;
      }
    } catch (error) {
      // What the store says may be about one of them only.
      if (open.length > 1 && !isUnavailable(error)) for (const one of open) await this.carryOut(stream, [one]);
      else for (const { reject } of open) reject(error);
    }
  }

  /** Appends what a plan says, and answers its commands as far as that went. */
  private async append(
    stream: string,
    from: StreamState,
    plan: readonly Decided[],
  ): Promise<{ answered: number; state: StreamState }> {
    const changes = plan.flatMap(({ events }) => (events.length > 0 ? [events] : []));
    const results = changes.length > 0 ? await this.store.appendEach(stream, from.revision, changes) : [];
    let state = from;
    let next = 0;
    for (const [i, { waiting, events, refusal }] of plan.entries()) {
      const result = events.length > 0 ? results[next++] : undefined;
      if (events.length > 0 && !result) return { answered: i, state };
      if (result?.duplicate) {
        state = await this.refresh(waiting.aggregate, stream, state);
        waiting.resolve(outcomeOf(state, result));
        return { answered: i + 1, state };
      }
      if (result) {
        const folded = fold(waiting.aggregate, state.state, result.events);
        state = this.remember(stream, { state: folded, revision: result.revision });
        if (this.options.onAppended) for (const event of result.events) this.options.onAppended(event);
      }
      if (refusal) waiting.reject(refusal.error);
      else waiting.resolve(outcomeOf(state, result));
      if (result) this.options.keeper?.keep(waiting.aggregate, result.events.at(-1)!, state.state);
    }
    return { answered: plan.length, state };
  }

  private known(aggregate: AnyAggregate, stream: string): StreamState {
    return this.cache.get(stream) ?? this.options.known?.(stream) ?? { state: aggregate.initial, revision: NO_STREAM };
  }

  /** @param known what to go on from; undefined to read the stream from its start */
  private async refresh(
    aggregate: AnyAggregate,
    stream: string,
    known: StreamState = { state: aggregate.initial, revision: NO_STREAM },
  ): Promise<StreamState> {
    const kept = known.revision === NO_STREAM ? await this.options.keeper?.resume(aggregate, stream) : undefined;
    const news = kept?.news ?? (await this.store.readStream(stream, known.revision + 1));
    const last = news.at(-1);
    if (!last) return kept ? this.remember(stream, kept) : known;
    for (const event of news) assertFoldable(aggregate.events, event);
    const state = fold(aggregate, (kept ?? known).state, news);
    const current = this.remember(stream, { state, revision: last.revision });
    this.options.keeper?.keep(aggregate, last, state);
    return current;
  }

  private remember(stream: string, state: StreamState): StreamState {
    const known = this.cache.get(stream);
    this.cache.set(stream, known && known.revision > state.revision ? known : state);
    return state;
  }
}

const isUnavailable = (error: unknown): boolean => error instanceof DomainError && error.kind === 'unavailable';

const outcomeOf = ({ state, revision }: StreamState, appended: AppendResult | undefined): Outcome<unknown> => ({
  state,
  revision,
  position: appended?.position ?? 0,
  events: appended?.events ?? [],
});

const decideAll = (batch: readonly Waiting[], { state: from }: StreamState): Decided[] => {
  let state = from;
  return batch.map((waiting, i) => {
    const { aggregate, command, context } = waiting;
    try {
      const decided: DomainEvent[] = aggregate.decide(command, state);
      if (i < batch.length - 1) state = fold(aggregate, state, decided);
      return { waiting, events: decided.map((event) => newEvent(aggregate, event, context)) };
    } catch (error) {
      return { waiting, events: [], refusal: { error } };
    }
  });
};

const fold = (aggregate: AnyAggregate, state: unknown, events: readonly DomainEvent[]): unknown =>
  events.reduce((s, event) => aggregate.evolve(s, event), state);

/** To decide without what an event of a newer release says would be to decide against it. */
const assertFoldable = ({ events }: EventSet, event: RecordedEvent): void => {
  const definition = events[event.type];
  if (!definition || event.schemaVersion > definition.version)
    throw unavailable('a newer release has to decide this', new UnknownEvent(event));
};

const newEvent = (aggregate: AnyAggregate, { type, data }: DomainEvent, context: CommandContext): NewEvent => ({
  type,
  data,
  schemaVersion: aggregate.events.events[type]?.version ?? 1,
  context,
});
