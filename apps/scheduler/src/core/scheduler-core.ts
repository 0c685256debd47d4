import {
  type CommandContext,
  type CommandId,
  DomainError,
  type EventId,
  type Milliseconds,
  ms,
  type Position,
  type RequestId,
  unavailable,
} from '@omnivisor/contracts';
import {
  assertKnown,
  CommandHandler,
  type EventStore,
  type Leadership,
  LOG_APPENDED,
  Moment,
  momentAt,
} from '@omnivisor/eventsourcing';
import type { SnapshotStore } from '@omnivisor/eventsourcing/snapshot';
import type { Bus, Clock, Ids } from '@omnivisor/platform/ports';
import type { Provider } from '../scheduling/provider/provider.js';
import { type ProviderCommand, providerAggregate } from '../scheduling/provider/provider-lifecycle.js';
import { PastWorlds } from './past-worlds.js';
import type { SchedulerSettings } from './settings.js';
import { World } from './world.js';
import { WorldKeeper } from './world-keeper.js';

export interface SchedulerPorts {
  readonly clock: Clock;
  readonly ids: Ids;
  readonly bus: Bus;
  readonly store: EventStore;
  readonly leadership: Leadership;
  /** How far the world may stay behind what others append while nobody asks; 0 when not given. */
  readonly lag?: Milliseconds;
  /** Where the world is kept between starts; without it each start folds the whole log. */
  readonly snapshots?: SnapshotStore;
  /** After how many events it is kept anew; 50,000 when not given. */
  readonly snapshotEvery?: number;
}

/** Something only the active scheduler does. */
export interface ActivePart {
  readonly name: string;
  start(): Promise<void>;
  stop(): Promise<void>;
}

const BATCH = 1_000;
const READ_DEADLINE = ms(1_000);
const POLL = ms(1_000);

const guarded = async <T>(work: Promise<T>): Promise<T> => {
  try {
    return await work;
  } catch (error) {
    if (error instanceof DomainError) throw error;
    throw unavailable('the scheduler cannot reach its store', error);
  }
};

/** What every part of the scheduler stands on: the world folded from the log, commands, and who is active. */
export class SchedulerCore {
  readonly clock: Clock;
  readonly ids: Ids;
  readonly bus: Bus;
  readonly world = new World();
  readonly commands: CommandHandler;
  /** Commands to providers: those that wait for one share an append. */
  readonly providers = {
    execute: async (command: ProviderCommand, context: CommandContext): Promise<Provider> =>
      (await this.commands.execute(providerAggregate, command.providerId, command, context)).state,
  };
  /** True once the world has caught up with the log since the start. */
  caughtUp = false;
  /** True while this scheduler holds the lead. */
  active = false;
  /** Set when the log has something this release does not know; nothing is decided from then on. */
  failure: Error | undefined;
  readonly store: EventStore;
  /** Tells our own wake-ups from those of others. */
  private readonly self: string;
  private readonly keeper: WorldKeeper | undefined;
  private readonly moment = new Moment();
  private readonly pasts: PastWorlds;
  private readonly parts: ActivePart[] = [];
  private readonly observers: (() => void)[] = [];
  private readonly stops: (() => unknown)[] = [];
  private reading: Promise<void> | undefined;
  private nextRead: Promise<void> | undefined;
  private stopped = false;
  private lagging = false;
  private cancelPoll = () => {};

  constructor(
    private readonly ports: SchedulerPorts,
    readonly settings: SchedulerSettings,
    readonly onError: (where: string, error: unknown) => void,
  ) {
    this.clock = ports.clock;
    this.ids = ports.ids;
    this.bus = ports.bus;
    this.store = ports.store;
    this.self = ports.ids.uuid();
    const { store, snapshots, snapshotEvery: every } = ports;
    this.keeper = snapshots && new WorldKeeper({ store, snapshots, every, world: this.world, onError });
    this.pasts = new PastWorlds(store, this.clock);
    this.commands = new CommandHandler(ports.store, {
      clock: ports.clock,
      known: (stream) => this.world.providerOf(stream),
    });
  }

  /** Adds a part that runs while this scheduler is the active one; call before `start`. */
  whileActive(part: ActivePart): void {
    this.parts.push(part);
  }

  /** Names this run of the scheduler. */
  get run(): string {
    return this.self.slice(0, 8);
  }

  /** Calls `observer` after the world moved. */
  observe(observer: () => void): void {
    this.observers.push(observer);
  }

  async start(): Promise<void> {
    this.stops.push(
      this.store.subscribe((position) => {
        this.bus.publish(LOG_APPENDED, { from: this.self, position });
        this.kick();
      }),
    );
    const subscription = await this.bus.subscribe(LOG_APPENDED, (message) => {
      if ((message as { from?: unknown } | null)?.from !== this.self) this.heard();
    });
    this.stops.push(() => subscription.close());
    this.poll();
    this.kick();
    this.ports.leadership.campaign(
      () => this.lead(),
      () => this.follow(),
    );
  }

  async stop(): Promise<void> {
    this.stopped = true;
    this.cancelPoll();
    await this.ports.leadership.stop();
    for (const stop of this.stops) await stop();
    await this.reading?.catch(() => {});
    await this.keeper?.done();
  }

  /**
   * Lets `work` see the world as it was at a moment: a position of the log or a time (RFC 3339).
   * @throws DomainError `invalid` for a moment that is none or still to come
   */
  async lookingBack<T>(moment: string, work: () => Promise<T>): Promise<T> {
    const past = await guarded(momentAt(this.store, moment, Date.parse(this.clock.now())));
    return this.moment.run(past, work);
  }

  /**
   * The world as of now, or as of the moment that the work at hand looks back to: it holds everything that was
   * acknowledged before this call.
   * @throws DomainError `unavailable` when it cannot get there within a second; a past one takes as long as its log
   */
  fresh(): Promise<World> {
    const { past } = this.moment;
    return past ? guarded(this.pasts.at(past.position)) : this.inTime(() => this.read());
  }

  /** The world at `position` or later. @throws as `fresh` */
  async upTo(position: Position): Promise<World> {
    if (this.world.position >= position) return this.world;
    return this.inTime(async () => {
      await (this.reading ?? this.read());
      if (this.world.position < position) await this.read();
    });
  }

  private async inTime(reading: () => Promise<void>): Promise<World> {
    let cancel = () => {};
    const late = new Promise<never>((_, reject) => {
      cancel = this.clock.after(READ_DEADLINE, () => reject(unavailable('the scheduler is behind the log')));
    });
    try {
      await guarded(Promise.race([reading(), late]));
      return this.world;
    } finally {
      cancel();
    }
  }

  /** Others append much that concerns nobody here; a question reads what it needs at once. */
  private heard(): void {
    const { lag } = this.ports;
    if (!lag) this.kick();
    else if (!this.lagging && !this.stopped) {
      this.lagging = true;
      this.clock.after(lag, () => {
        this.lagging = false;
        this.kick();
      });
    }
  }

  /** @throws what stopped it for good */
  assertGoing(): undefined {
    if (this.failure) throw this.failure;
  }

  kick(): void {
    if (!this.stopped) this.read().catch((error) => this.onError('following the log', error));
  }

  /** Context of what the scheduler does by itself. The same name gives the same command. */
  context(name: string, cause?: { readonly id: EventId; readonly context: CommandContext }): CommandContext {
    const requestId = cause?.context.requestId ?? (`req-${this.ids.uuid()}` as RequestId);
    return {
      actor: { kind: 'service', service: 'scheduler' },
      requestId,
      correlationId: cause?.context.correlationId ?? requestId,
      causationId: cause?.id ?? null,
      commandId: name.slice(0, 128) as CommandId,
    };
  }

  /** One reading at a time; whoever asks during one waits for the next, which all of them share. */
  private read(): Promise<void> {
    if (!this.reading) {
      const run = this.drain().finally(() => {
        if (this.reading === run) this.reading = undefined;
      });
      this.reading = run;
      return run;
    }
    this.nextRead ??= this.reading
      .catch(() => {})
      .then(() => {
        this.nextRead = undefined;
        return this.read();
      });
    return this.nextRead;
  }

  private async drain(): Promise<void> {
    this.assertGoing();
    await this.keeper?.resume();
    const before: Position = this.world.position;
    for (;;) {
      const events = await this.store.readAll(this.world.position, BATCH);
      for (const event of events) {
        try {
          assertKnown(event);
        } catch (error) {
          this.failure = error as Error;
          throw error;
        }
        this.world.apply(event);
      }
      this.keeper?.folded(events.at(-1));
      // A first start that is ended half way need not begin again. Later one is enough, and who leads has the newest.
      if (this.active || !this.caughtUp) this.keeper?.keep();
      if (events.length < BATCH) break;
    }
    this.caughtUp = true;
    if (this.active) this.keeper?.keep();
    if (this.world.position !== before) for (const observer of this.observers) observer();
  }

  private poll(): void {
    if (this.stopped) return;
    this.cancelPoll = this.clock.after(POLL, () => {
      this.kick();
      this.poll();
    });
  }

  private async lead(): Promise<void> {
    await this.read();
    this.active = true;
    for (const part of this.parts) await part.start();
  }

  private async follow(): Promise<void> {
    this.active = false;
    for (const part of [...this.parts].reverse()) {
      try {
        await part.stop();
      } catch (error) {
        this.onError(`stopping ${part.name}`, error);
      }
    }
  }
}
