import {
  type CommandContext,
  type DomainEvent,
  NO_STREAM,
  type Position,
  type RecordedEvent,
  type Revision,
  unavailable,
} from '@omnivisor/contracts';
import { type Aggregate, streamOf } from './decider.js';
import { type EventStore, WrongExpectedRevision } from './event-store.js';

export interface Outcome<State> {
  readonly state: State;
  readonly revision: Revision;
  /** Position of the last event of this command; 0 when it changed nothing. */
  readonly position: Position;
  readonly events: readonly RecordedEvent[];
}

interface Cached {
  state: unknown;
  revision: Revision;
}

/** Each conflict means that another process got through; so many in a row mean a stream that is fought over. */
const MAX_CONFLICTS = 50;

/**
 * Loads a stream, decides, appends at the expected revision; on a conflict it loads what is new and decides again.
 * Commands for one stream queue up within a process, so that they conflict only with other processes. Folded states
 * are kept: the expected revision makes a stale one harmless.
 */
export class CommandHandler {
  private readonly cache = new Map<string, Cached>();
  private readonly queues = new Map<string, Promise<unknown>>();

  constructor(
    private readonly store: EventStore,
    private readonly cacheSize = 5_000,
  ) {}

  /** @throws DomainError as the decider refuses, `unavailable` after too many conflicts; EventStoreUnavailable */
  execute<S, C, E extends DomainEvent>(
    aggregate: Aggregate<S, C, E>,
    key: string,
    command: C,
    context: CommandContext,
  ): Promise<Outcome<S>> {
    const stream = streamOf(aggregate.events, key);
    const before = this.queues.get(stream) ?? Promise.resolve();
    const run = before.then(() => this.attempt(aggregate, stream, command, context));
    const settled = run.then(
      () => {},
      () => {},
    );
    this.queues.set(stream, settled);
    void settled.then(() => {
      if (this.queues.get(stream) === settled) this.queues.delete(stream);
    });
    return run;
  }

  /** The folded state of a stream as it stands in the log now. */
  async load<S, C, E extends DomainEvent>(aggregate: Aggregate<S, C, E>, key: string): Promise<S> {
    const stream = streamOf(aggregate.events, key);
    return (await this.refresh(aggregate, stream, this.cache.get(stream))).state as S;
  }

  private async attempt<S, C, E extends DomainEvent>(
    aggregate: Aggregate<S, C, E>,
    stream: string,
    command: C,
    context: CommandContext,
  ): Promise<Outcome<S>> {
    const known = this.cache.get(stream);
    let current = known ?? (await this.refresh(aggregate, stream, undefined));
    let fresh = known === undefined;
    for (let conflicts = 0; ; ) {
      const decided = decide(aggregate, command, current.state as S);
      if ('refused' in decided || decided.events.length === 0) {
        // It must rest on the log as it is, not on a state that this process remembers.
        const before = current.revision;
        if (!fresh) current = await this.refresh(aggregate, stream, current);
        fresh = true;
        if (current.revision !== before) continue;
        if ('refused' in decided) throw decided.refused;
        return { state: current.state as S, revision: current.revision, position: 0, events: [] };
      }
      try {
        const result = await this.store.append(
          stream,
          current.revision,
          decided.events.map((e) => ({
            type: e.type,
            data: e.data,
            schemaVersion: aggregate.events.events[e.type]?.version ?? 1,
            context,
          })),
        );
        current = result.duplicate
          ? await this.refresh(aggregate, stream, current)
          : this.remember(stream, {
              state: result.events.reduce((s, e) => aggregate.evolve(s, e as unknown as E), current.state as S),
              revision: result.revision,
            });
        return {
          state: current.state as S,
          revision: current.revision,
          position: result.position,
          events: result.events,
        };
      } catch (error) {
        if (!(error instanceof WrongExpectedRevision)) throw error;
        if (++conflicts > MAX_CONFLICTS) throw unavailable('too many changes at the same time', error);
        // A log that is behind what this process remembers is another log: one that was restored.
        if (error.actual < current.revision) this.cache.delete(stream);
        current = await this.refresh(aggregate, stream, error.actual < current.revision ? undefined : current);
        fresh = true;
      }
    }
  }

  /** @param known what to go on from; undefined to read the stream from its start */
  private async refresh<S, C, E extends DomainEvent>(
    aggregate: Aggregate<S, C, E>,
    stream: string,
    known: Cached = { state: aggregate.initial, revision: NO_STREAM },
  ): Promise<Cached> {
    const news = await this.store.readStream(stream, known.revision + 1);
    const last = news.at(-1);
    if (!last) return known;
    return this.remember(stream, {
      state: news.reduce((s, e) => aggregate.evolve(s, e as unknown as E), known.state as S),
      revision: last.revision,
    });
  }

  private remember(stream: string, state: Cached): Cached {
    const known = this.cache.get(stream);
    this.cache.delete(stream);
    this.cache.set(stream, known && known.revision > state.revision ? known : state);
    if (this.cache.size > this.cacheSize) {
      const oldest = this.cache.keys().next().value;
      if (oldest !== undefined) this.cache.delete(oldest);
    }
    return state;
  }
}

const decide = <S, C, E extends DomainEvent>(
  aggregate: Aggregate<S, C, E>,
  command: C,
  state: S,
): { readonly events: E[] } | { readonly refused: unknown } => {
  try {
    return { events: aggregate.decide(command, state) };
  } catch (refused) {
    return { refused };
  }
};
