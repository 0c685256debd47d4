import {
  type CommandContext,
  conflict,
  type NewEvent,
  NO_STREAM,
  type ProviderEvent,
  type Revision,
  unavailable,
} from '@omnivisor/contracts';
import { type EventStore, streamOf, WrongExpectedRevision } from '@omnivisor/eventsourcing';
import { claimKey, type Provider } from './provider.js';
import { type ProviderCommand, providerAggregate } from './provider-lifecycle.js';

interface Waiting {
  readonly command: ProviderCommand;
  readonly context: CommandContext;
  readonly done: (provider: Provider) => void;
  readonly refused: (error: unknown) => void;
}

interface Line {
  state: Provider;
  revision: Revision;
  waiting: Waiting[];
  running: boolean;
}

const MAX_ROUNDS = 20;
const MAX_BATCH = 200;

/**
 * Writes provider streams. Commands that wait for one provider go out together; each is decided on the state that the
 * ones before it leave, so that capacity is checked for every claim, and again after a conflict.
 */
export class ProviderWriter {
  private readonly lines = new Map<string, Line>();

  /** @param known a provider as it stood at a revision, to begin from instead of the start of its stream */
  constructor(
    private readonly store: EventStore,
    private readonly known: (providerId: string) => (Provider & { readonly revision: Revision }) | undefined = () =>
      undefined,
  ) {}

  /** @throws DomainError as the decider refuses; `conflict` when this claim was made before and has ended */
  execute(command: ProviderCommand, context: CommandContext): Promise<Provider> {
    let line = this.lines.get(command.providerId);
    if (!line) {
      line = { ...this.begin(command.providerId), waiting: [], running: false };
      this.lines.set(command.providerId, line);
    }
    const queue = line;
    return new Promise((done, refused) => {
      queue.waiting.push({ command, context, done, refused });
      if (!queue.running) void this.run(command.providerId, queue);
    });
  }

  private begin(providerId: string): Pick<Line, 'state' | 'revision'> {
    const state = this.known(providerId);
    return state ? { state, revision: state.revision } : { state: providerAggregate.initial, revision: NO_STREAM };
  }

  private async run(providerId: string, line: Line): Promise<void> {
    line.running = true;
    // What arrives in the same turn belongs to the same append.
    await Promise.resolve();
    while (line.waiting.length > 0) {
      const batch = line.waiting.splice(0, MAX_BATCH);
      try {
        await this.write(providerId, line, batch);
      } catch (error) {
        Object.assign(line, this.begin(providerId));
        for (const w of batch) w.refused(error);
      }
    }
    line.running = false;
  }

  private async write(providerId: string, line: Line, batch: Waiting[]): Promise<void> {
    const stream = streamOf(providerAggregate.events, providerId);
    let open = batch;
    let fresh = false;
    for (let round = 0; round < MAX_ROUNDS && open.length > 0; round++) {
      const plan = decideAll(open, line.state);
      if (!fresh && (plan.appends.length === 0 || plan.refusals.size > 0)) {
        // A refusal rests on the log as it is, not on what this process remembers.
        await this.refresh(stream, line);
        fresh = true;
        continue;
      }
      for (const [w, error] of plan.refusals) w.refused(error);
      for (const w of plan.held) w.done(plan.state);
      open = await this.append(stream, line, plan);
      fresh = true;
    }
    for (const w of open) w.refused(unavailable('the resource provider changes too fast'));
  }

  /**
   * Sends all appends of a plan at once, each at the revision that the one before it leaves: the store commits them
   * together, or refuses all that follow a refused one.
   * @returns those that have to be decided again
   */
  private async append(stream: string, line: Line, plan: Plan): Promise<Waiting[]> {
    let revision = line.revision;
    const results = await Promise.allSettled(
      plan.appends.map(({ events }) => {
        const expected = revision;
        revision += events.length;
        return this.store.append(stream, expected, events);
      }),
    );
    if (results.every((r) => r.status === 'fulfilled' && !r.value.duplicate)) {
      line.state = plan.state;
      line.revision = revision;
      for (const { waiting } of plan.appends) waiting.done(plan.state);
      return [];
    }
    await this.refresh(stream, line);
    const again: Waiting[] = [];
    for (const [i, result] of results.entries()) {
      const { waiting } = plan.appends[i]!;
      if (result.status === 'fulfilled') settle(waiting, line.state, result.value.duplicate);
      else if (result.reason instanceof WrongExpectedRevision) again.push(waiting);
      else waiting.refused(result.reason);
    }
    return again;
  }

  private async refresh(stream: string, line: Line): Promise<void> {
    for (const event of await this.store.readStream(stream, line.revision + 1)) {
      line.state = providerAggregate.evolve(line.state, event as unknown as ProviderEvent);
      line.revision = event.revision;
    }
  }
}

interface Plan {
  readonly state: Provider;
  readonly appends: readonly { readonly waiting: Waiting; readonly events: readonly NewEvent[] }[];
  /** What they ask for holds already. */
  readonly held: readonly Waiting[];
  readonly refusals: ReadonlyMap<Waiting, unknown>;
}

const decideAll = (batch: readonly Waiting[], from: Provider): Plan => {
  let state = from;
  const appends: { waiting: Waiting; events: NewEvent[] }[] = [];
  const held: Waiting[] = [];
  const refusals = new Map<Waiting, unknown>();
  for (const waiting of batch) {
    try {
      const decided = providerAggregate.decide(waiting.command, state);
      if (decided.length === 0) held.push(waiting);
      else appends.push({ waiting, events: decided.map((event) => newEvent(event, waiting.context)) });
      state = decided.reduce((s, event) => providerAggregate.evolve(s, event), state);
    } catch (error) {
      refusals.set(waiting, error);
    }
  }
  return { state, appends, held, refusals };
};

const newEvent = (event: ProviderEvent, context: CommandContext): NewEvent => ({
  ...event,
  schemaVersion: providerAggregate.events.events[event.type]?.version ?? 1,
  context,
});

/** The command is in the log. When it was there before, what it claimed may have ended since. */
const settle = ({ command, done, refused }: Waiting, state: Provider, duplicate: boolean): void => {
  const ended =
    duplicate && command.type === 'claim' && !state.claims.has(claimKey(command.claim.serverId, command.claim.attempt));
  if (ended) refused(conflict('this claim was made before and has ended'));
  else done(state);
};
