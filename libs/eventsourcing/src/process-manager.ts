import { after, backoff, type Instant, type Milliseconds, ms, type RecordedEvent, seconds } from '@omnivisor/contracts';
import { LRUCache } from 'lru-cache';
import type { DueWork, ReadModel } from './read-model.js';

/** The part of the clock that a process needs; `libs/platform` has the port and its adapters. */
export interface ProcessClock {
  now(): Instant;
  after(duration: Milliseconds, action: () => void): () => void;
}

/**
 * A process manager: looks at the streams, does what is next, and may be interrupted anywhere. Truth is the stream; the
 * worklist `dueTable` is a projection. Doing a step twice is harmless: command ids are derived from process, id and step.
 */
export interface Process {
  readonly name: string;
  /**
   * Does what is due for one id. A step that finds nothing to do returns; one that fails is tried again later.
   * @param cause the event that made it due a moment ago, when this replica appended it: the read model may be behind it
   */
  step(id: string, cause?: RecordedEvent): Promise<void>;
  /**
   * The id whose work an event begins. The replica that appended it goes on at once, without the worklist; the row there
   * should fall due only when others have to take the work up.
   */
  begins?(event: RecordedEvent): string | undefined;
}

export interface ProcessRunnerOptions {
  readonly concurrency?: number;
  /** How long a replica may take for a step before another one takes it up. */
  readonly lease?: Milliseconds;
  /** Brings the read model up to date, so that what a step did is seen before its lease ends. */
  readonly catchUp: () => Promise<unknown>;
  readonly onError: (process: string, id: string, error: unknown) => void;
  /** A number in [0, 1) for the jitter of retries. */
  readonly random: () => number;
}

/** Steps of one id that may follow each other at once while its due time stays the same. */
const MAX_REPEATS = 20;
const MAX_REMEMBERED = 10_000;
/** Work that waits for a free hand; what is beyond it is left to the worklist. */
const MAX_BEGUN = 1_000;

/** Runs one process in one replica: leases due work, steps through it, sleeps until the next falls due. */
export class ProcessRunner {
  private readonly failures = new LRUCache<string, number>({ max: MAX_REMEMBERED });
  private readonly repeats = new LRUCache<string, { dueAt: Instant; times: number }>({ max: MAX_REMEMBERED });
  private readonly running = new Map<string, Promise<void>>();
  /** Work that was leased again while its step still ran. */
  private readonly leasedAgain = new Map<string, DueWork>();
  /** Work that this replica began while it had no hand free, or while a step of the same id ran. */
  private readonly begun = new Map<string, RecordedEvent>();
  private readonly concurrency: number;
  /** The worklist was not looked at for want of a free hand. */
  private behind = false;
  private active: Promise<void> | undefined;
  private again = false;
  private stopped = false;
  private cancelTimer = () => {};
  private timerAt: Instant | null = null;

  constructor(
    private readonly process: Process,
    private readonly readModel: ReadModel,
    private readonly clock: ProcessClock,
    private readonly options: ProcessRunnerOptions,
  ) {
    this.concurrency = options.concurrency ?? 32;
  }

  get name(): string {
    return this.process.name;
  }

  /** Work falls due at `at`: this replica projected it. */
  expect(at: Instant): void {
    if (at <= this.clock.now()) this.wake();
    else this.sleepUntil(at);
  }

  /** This replica appended an event: goes on at once when that begins work. */
  appended(event: RecordedEvent): void {
    const id = this.process.begins?.(event);
    if (id === undefined || this.stopped) return;
    if (!this.running.has(id) && this.running.size < this.concurrency) this.begin(id, event);
    else if (this.begun.size < MAX_BEGUN) this.begun.set(id, event);
  }

  /** Something may have fallen due. */
  wake(): void {
    if (this.stopped) return;
    if (this.active) {
      this.again = true;
      return;
    }
    this.active = this.poll().finally(() => {
      this.active = undefined;
      if (this.again) {
        this.again = false;
        this.wake();
      }
    });
  }

  /** Takes up no more work and waits for what runs. */
  async stop(): Promise<void> {
    this.stopped = true;
    this.cancelTimer();
    await this.active;
    this.cancelTimer();
    await Promise.all(this.running.values());
  }

  private async poll(): Promise<void> {
    try {
      for (;;) {
        const free = this.concurrency - this.running.size;
        // With no hands free, the end of a step is what wakes.
        this.behind = free <= 0;
        if (this.behind || this.stopped) return;
        const now = this.clock.now();
        const until = after(now, this.options.lease ?? seconds(30));
        const due = await this.readModel.lease(this.process.name, now, until, free);
        // Its step is just ending, or outlasts its lease: what it left due is taken up when it has ended.
        for (const work of due)
          if (this.running.has(work.id)) this.leasedAgain.set(work.id, work);
          else this.take(work);
        if (due.length < free) break;
      }
      await this.sleepUntilDue();
    } catch (error) {
      this.options.onError(this.process.name, '', error);
      this.sleepUntil(after(this.clock.now(), seconds(1)));
    }
  }

  private take(work: DueWork): void {
    this.begun.delete(work.id);
    this.hold(work.id, this.run(work), () => this.wake());
  }

  private begin(id: string, cause: RecordedEvent): void {
    this.begun.delete(id);
    // What fails here falls due on the worklist.
    const step = this.process.step(id, cause).catch((error) => this.options.onError(this.process.name, id, error));
    this.hold(id, step, () => {
      if (this.behind) this.wake();
    });
  }

  private hold(id: string, step: Promise<void>, ended: () => void): void {
    const run = step.finally(() => {
      this.running.delete(id);
      if (this.stopped) return;
      const again = this.leasedAgain.get(id);
      this.leasedAgain.delete(id);
      if (again) this.take(again);
      for (const [next, cause] of this.begun) {
        if (this.running.size >= this.concurrency) break;
        if (!this.running.has(next)) this.begin(next, cause);
      }
      ended();
    });
    this.running.set(id, run);
  }

  private async run({ id, dueAt }: DueWork): Promise<void> {
    let pause = 0;
    try {
      await this.process.step(id);
      this.failures.delete(id);
      pause = this.pauseOf(id, dueAt);
      await this.options.catchUp();
    } catch (error) {
      this.options.onError(this.process.name, id, error);
      const failures = this.failures.get(id) ?? 0;
      this.failures.set(id, failures + 1);
      pause = backoff(failures, this.options.random());
    }
    try {
      await this.readModel.unlease(this.process.name, id, after(this.clock.now(), ms(pause)));
    } catch (error) {
      // The lease runs out by itself, and the work is taken up again.
      this.options.onError(this.process.name, id, error);
    }
  }

  /** A process whose step changes nothing, while its work stays due, must not go round and round. */
  private pauseOf(id: string, dueAt: Instant): number {
    const last = this.repeats.get(id);
    const times = last?.dueAt === dueAt ? last.times + 1 : 0;
    this.repeats.set(id, { dueAt, times });
    return times < MAX_REPEATS ? 0 : backoff(times - MAX_REPEATS, this.options.random());
  }

  private async sleepUntilDue(): Promise<void> {
    // While a timer runs, whatever falls due before it is told by `expect`.
    if (this.timerAt !== null) return;
    const next = await this.readModel.nextDue(this.process.name);
    if (next !== null) this.sleepUntil(next);
  }

  private sleepUntil(at: Instant): void {
    if (this.stopped || (this.timerAt !== null && this.timerAt <= at)) return;
    this.cancelTimer();
    this.timerAt = at;
    const duration = ms(Math.max(10, Date.parse(at) - Date.parse(this.clock.now())));
    this.cancelTimer = this.clock.after(duration, () => {
      this.timerAt = null;
      this.wake();
    });
  }
}
