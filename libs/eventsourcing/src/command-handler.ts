import {
  type CommandContext,
  type DomainEvent,
  NO_STREAM,
  type Position,
  type RecordedEvent,
  type Revision,
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

const MAX_CONFLICTS = 20;

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

  /** @throws DomainError as the decider refuses; EventStoreUnavailable */
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
    return (await this.refresh(aggregate, stream)).state as S;
  }

  private async attempt<S, C, E extends DomainEvent>(
    aggregate: Aggregate<S, C, E>,
    stream: string,
    command: C,
    context: CommandContext,
  ): Promise<Outcome<S>> {
    let current = this.cache.get(stream) ?? (await this.refresh(aggregate, stream));
    for (let conflicts = 0; ; conflicts++) {
      const fresh = conflicts > 0;
      let decided: E[];
      try {
        decided = aggregate.decide(command, current.state as S);
      } catch (error) {
        // A refusal must rest on the log as it is, not on a state this process remembers.
        if (fresh || !(await this.movedOn(aggregate, stream, current))) throw error;
        current = this.cache.get(stream) ?? current;
        continue;
      }
      if (decided.length === 0) {
        if (!fresh && (await this.movedOn(aggregate, stream, current))) {
          current = this.cache.get(stream) ?? current;
          continue;
        }
        return { state: current.state as S, revision: current.revision, position: 0, events: [] };
      }
      try {
        const result = await this.store.append(
          stream,
          current.revision,
          decided.map((e) => ({
            type: e.type,
            data: e.data,
            schemaVersion: aggregate.events.events[e.type]?.version ?? 1,
            context,
          })),
        );
        if (result.duplicate) current = await this.refresh(aggregate, stream);
        else {
          current = {
            state: result.events.reduce((s, e) => aggregate.evolve(s, e as unknown as E), current.state as S),
            revision: result.revision,
          };
          this.remember(stream, current);
        }
        return {
          state: current.state as S,
          revision: current.revision,
          position: result.position,
          events: result.events,
        };
      } catch (error) {
        this.cache.delete(stream);
        if (!(error instanceof WrongExpectedRevision) || conflicts >= MAX_CONFLICTS) throw error;
        current = await this.refresh(aggregate, stream);
      }
    }
  }

  private async movedOn<S, C, E extends DomainEvent>(
    aggregate: Aggregate<S, C, E>,
    stream: string,
    seen: Cached,
  ): Promise<boolean> {
    return (await this.refresh(aggregate, stream)).revision !== seen.revision;
  }

  private async refresh<S, C, E extends DomainEvent>(aggregate: Aggregate<S, C, E>, stream: string): Promise<Cached> {
    const known = this.cache.get(stream) ?? { state: aggregate.initial, revision: NO_STREAM };
    const news = await this.store.readStream(stream, known.revision + 1);
    const last = news.at(-1);
    if (!last) return known;
    const current = {
      state: news.reduce((s, e) => aggregate.evolve(s, e as unknown as E), known.state as S),
      revision: last.revision,
    };
    this.remember(stream, current);
    return current;
  }

  private remember(stream: string, state: Cached): void {
    this.cache.delete(stream);
    this.cache.set(stream, state);
    if (this.cache.size > this.cacheSize) {
      const oldest = this.cache.keys().next().value;
      if (oldest !== undefined) this.cache.delete(oldest);
    }
  }
}
