import type { DomainEvent, Instant, Milliseconds, Position, RecordedEvent } from '@omnivisor/contracts';
import { DomainError, seconds, unavailable, unsupported } from '@omnivisor/contracts';
import { CommandHandler } from './command-handler.js';
import { type Aggregate, streamOf } from './decider.js';
import type { EventStore } from './event-store.js';
import { Historian, type History } from './history.js';
import { Moment, momentAt } from './moment.js';
import { Forgetting } from './personal/forget.js';
import { type Process, type ProcessClock, ProcessRunner } from './process-manager.js';
import { type Projection, Projector } from './projection.js';
import { type DueWork, dueTable, type ReadModel, type RowChange, type RowReader } from './read-model.js';
import type { Snapshots } from './snapshot/snapshot-store.js';
import { StreamKeeper } from './stream-keeper.js';

/** The part of the bus that wake-ups need; `libs/platform` has the port and its adapters. */
export interface WakeUps {
  publish(subject: string, message: unknown): void;
  subscribe(subject: string, handler: (message: unknown) => void): Promise<{ close(): Promise<void> }>;
}

/** The ports of an app, of the kinds it uses: `AppPorts<Clock, Bus, Ids>`. */
export interface AppPorts<C extends ProcessClock = ProcessClock, B extends WakeUps = WakeUps, I = unknown> {
  readonly clock: C;
  readonly bus: B;
  readonly ids: I;
  readonly store: EventStore;
  readonly readModel: ReadModel;
  /** The read model's past; without one nothing is answered for it. */
  readonly history?: History;
  /** Where the state of long streams is kept; without it they are folded once in each process. */
  readonly snapshots?: Snapshots;
  /** How many events a stream has before its state is kept; 1,000 when not given. */
  readonly snapshotEvery?: number;
  /** A number in [0, 1). */
  readonly random: () => number;
  /** How far the read model may stay behind what others append while nobody reads it; 0 when not given. */
  readonly lag?: Milliseconds;
  /** How long appends of our own are gathered before they are projected and others told; 0 when not given. */
  readonly gather?: Milliseconds;
}

/** Subject of the wake-up after an append; it carries no truth. */
export const LOG_APPENDED = 'log.appended';

/** A store that is away is noticed soon; rows that are on their way are worth more than a refusal. */
const HEAD_DEADLINE = seconds(1);
const ROWS_DEADLINE = seconds(4);
/** Seconds between looks at the whole worklist, for work that another replica left. */
const RUNNER_ROUNDS = 5;

/**
 * What every part of an app stands on: commands in, rows out, processes between. Plain code on ports, so that a
 * spec can run several of them in one process on virtual time.
 */
export class AppCore<C extends ProcessClock = ProcessClock, B extends WakeUps = WakeUps, I = unknown> {
  readonly clock: C;
  readonly ids: I;
  readonly bus: B;
  readonly store: EventStore;
  readonly readModel: ReadModel;
  readonly commands: CommandHandler;
  readonly projector: Projector;
  private readonly keeper: StreamKeeper | undefined;
  private readonly historian: Historian | undefined;
  private readonly moment = new Moment();
  private readonly runners: ProcessRunner[] = [];
  private readonly observers: ((event: RecordedEvent) => void)[] = [];
  private readonly appendObservers: ((event: RecordedEvent) => void)[] = [];
  private readonly stops: (() => unknown)[] = [];
  private stopped = false;
  /** Position of the newest append of our own. */
  private told: Position = 0;
  private lagging = false;
  private gathering = false;
  private cancelPoll = () => {};

  constructor(
    private readonly ports: AppPorts<C, B, I>,
    private readonly projections: readonly Projection[],
    private readonly onError: (where: string, error: unknown) => void,
  ) {
    this.clock = ports.clock;
    this.ids = ports.ids;
    this.bus = ports.bus;
    this.store = ports.store;
    this.readModel = ports.readModel;
    const { store, snapshots, clock, snapshotEvery: every } = ports;
    this.keeper = snapshots && new StreamKeeper({ store, snapshots, clock, every, onError });
    this.commands = new CommandHandler(store, {
      clock: ports.clock,
      ...(this.keeper ? { keeper: this.keeper } : {}),
      onAppended: (event) => {
        for (const runner of this.runners) runner.appended(event);
        for (const observer of this.appendObservers) observer(event);
      },
    });
    this.projector = new Projector(ports.store, ports.readModel, projections, {
      onAdvanced: (events, changes) => this.advanced(events, changes),
    });
    this.historian =
      ports.history &&
      new Historian({
        store: ports.store,
        history: ports.history,
        projections,
        clock: ports.clock,
        onError: (error) => onError('historian', error),
      });
  }

  /** Adds a process manager; call before `start`. */
  run(process: Process, concurrency?: number): void {
    this.runners.push(
      new ProcessRunner(process, this.readModel, this.clock, {
        catchUp: () => this.projector.catchUp(),
        onError: (name, id, error) => this.onError(`process ${name} ${id}`, error),
        random: this.ports.random,
        ...(concurrency === undefined ? {} : { concurrency }),
      }),
    );
  }

  /** Tells `observer` of each event that a command in this replica appended, before it is projected. */
  observeAppends(observer: (event: RecordedEvent) => void): void {
    this.appendObservers.push(observer);
  }

  /** Tells `observer` of each event that this replica projected: a hint, other replicas project too. */
  observe(observer: (event: RecordedEvent) => void): void {
    this.observers.push(observer);
  }

  async start(): Promise<void> {
    this.stops.push(this.store.subscribe((position) => this.appended(position)));
    const subscription = await this.bus.subscribe(LOG_APPENDED, (message) => this.heard(message));
    this.stops.push(() => subscription.close());
    this.historian?.start();
    this.poll();
    this.kick();
  }

  async stop(): Promise<void> {
    this.stopped = true;
    this.cancelPoll();
    for (const stop of this.stops) await stop();
    await this.historian?.stop();
    await Promise.all(this.runners.map((r) => r.stop()));
    await this.keeper?.done();
  }

  /**
   * Lets `work` see the rows as they were at a moment: a position of the log or a time (RFC 3339).
   * @throws DomainError `invalid` for a moment that is none or still to come, `unsupported` where no past is kept
   */
  async lookingBack<T>(moment: string, work: () => Promise<T>): Promise<T> {
    if (!this.historian) throw unsupported('The past is not kept here.');
    const past = await this.guarded(momentAt(this.store, moment, Date.parse(this.clock.now())));
    return this.moment.run(past, work);
  }

  /** True while the work at hand looks back: then nothing may be changed. */
  get isLookingBack(): boolean {
    return this.moment.past !== undefined;
  }

  /** The time now, or at the moment that the work at hand looks back to. */
  now(): Instant {
    return this.moment.past?.at ?? this.clock.now();
  }

  /**
   * The read model as of now, or as of the moment that the work at hand looks back to: it holds everything that was acknowledged before this call, by any replica.
   * @throws DomainError `unavailable` when the log does not answer within a second, or its rows are not there within four more
   */
  async fresh(): Promise<RowReader> {
    const moment = this.moment.past;
    if (moment) return this.guarded(this.historian!.at(moment.position));
    return this.at(await this.head());
  }

  /**
   * Takes out of the read model and its history what the log does not tell any more.
   * @param log as it stands, with what was closed by the destroyed keys `refs`
   * @param mark appends an event that says so, when rows of the read model have to be changed
   * @returns how many rows and versions had told it
   */
  async forget(log: EventStore, refs: readonly string[], mark: (rows: number) => Promise<Position>): Promise<number> {
    const { store, projector, projections } = this;
    const { history } = this.ports;
    const pass = new Forgetting({ store, log, projections, refs });
    const versions = history ? await pass.history(history) : 0;
    // Most of it before the read model is held.
    await pass.fold(await projector.catchUp());
    return versions + (await projector.amend((from, rows) => pass.rows(from, rows), mark));
  }

  /** The folded state of a stream as it stands now, or stood at the moment that the work at hand looks back to. */
  async load<S, C, E extends DomainEvent>(aggregate: Aggregate<S, C, E>, key: string): Promise<S> {
    const moment = this.moment.past;
    if (!moment) return this.commands.load(aggregate, key);
    const events = await this.guarded(this.store.readStream(streamOf(aggregate.events, key)));
    return events
      .filter((event) => event.position <= moment.position)
      .reduce((state, event) => aggregate.evolve(state, event as unknown as E), aggregate.initial);
  }

  /**
   * Where the log is now.
   * @throws DomainError `unavailable` when the store does not say so within a second
   */
  head(): Promise<Position> {
    return this.inTime(HEAD_DEADLINE, this.store.head(), 'the log does not answer');
  }

  /** The read model at `position` or later. */
  async at(position: Position): Promise<RowReader> {
    await this.inTime(ROWS_DEADLINE, this.projector.catchUp(position), 'the read model is behind the log');
    return this.readModel;
  }

  private async inTime<T>(deadline: Milliseconds, work: Promise<T>, late: string): Promise<T> {
    let cancel = () => {};
    const over = new Promise<never>((_, reject) => {
      cancel = this.clock.after(deadline, () => reject(unavailable(late)));
    });
    try {
      return await Promise.race([this.guarded(work), over]);
    } finally {
      cancel();
    }
  }

  private async guarded<T>(work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      if (error instanceof DomainError) throw error;
      throw unavailable('the service cannot reach its store', error);
    }
  }

  private appended(position: Position): void {
    const { gather } = this.ports;
    this.told = Math.max(this.told, position);
    const tell = () => {
      this.gathering = false;
      this.bus.publish(LOG_APPENDED, { position: this.told });
      this.kick(this.told);
    };
    if (!gather) tell();
    else if (!this.gathering) {
      this.gathering = true;
      this.clock.after(gather, tell);
    }
  }

  /** Somebody appended: what was told of here already needs no look at the log. */
  private heard(message: unknown): void {
    const position = (message as { position?: unknown } | null)?.position;
    if (typeof position === 'number' && position <= Math.max(this.told, this.projector.position)) return;
    const { lag } = this.ports;
    if (!lag) {
      this.kick(typeof position === 'number' ? position : undefined);
      return;
    }
    if (this.lagging || this.stopped) return;
    this.lagging = true;
    this.clock.after(lag, () => {
      this.lagging = false;
      this.kick();
    });
  }

  /** Brings the read model up to date soon, at least to `position`. */
  kick(position?: Position): void {
    if (this.stopped) return;
    if (position !== undefined) this.told = Math.max(this.told, position);
    this.projector.catchUp(position).catch((error) => this.onError('projector', error));
  }

  /** The net below lost wake-ups. */
  private poll(round = 0): void {
    if (this.stopped) return;
    this.cancelPoll = this.clock.after(seconds(1), () => {
      this.kick();
      if (round % RUNNER_ROUNDS === 0) for (const runner of this.runners) runner.wake();
      this.poll(round + 1);
    });
  }

  private advanced(events: readonly RecordedEvent[], changes: readonly RowChange[]): void {
    for (const { table, row } of changes) {
      if (table.name !== dueTable.name || !row) continue;
      const due = row as DueWork;
      for (const runner of this.runners) if (runner.name === due.process) runner.expect(due.dueAt);
    }
    for (const event of events) for (const observer of this.observers) observer(event);
  }
}
