import { after, type Instant, type Milliseconds, ms, seconds } from '@omnivisor/contracts';
import type { ReadModel } from './read-model.js';

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
  /** Does what is due for one id. A step that finds nothing to do returns; one that fails is tried again later. */
  step(id: string): Promise<void>;
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

const BACKOFF: readonly number[] = [200, 500, 1_000, 2_000, 5_000];

/** Runs one process in one replica: leases due work, steps through it, sleeps until the next falls due. */
export class ProcessRunner {
  private readonly failures = new Map<string, number>();
  private running = 0;
  private active: Promise<void> | undefined;
  private again = false;
  private stopped = false;
  private cancelTimer = () => {};

  constructor(
    private readonly process: Process,
    private readonly readModel: ReadModel,
    private readonly clock: ProcessClock,
    private readonly options: ProcessRunnerOptions,
  ) {}

  /** Something may have fallen due. Cheap; call it after every advance of the read model. */
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
  }

  private async poll(): Promise<void> {
    const concurrency = this.options.concurrency ?? 32;
    const steps: Promise<void>[] = [];
    try {
      for (;;) {
        const free = concurrency - this.running;
        if (free <= 0 || this.stopped) break;
        const now = this.clock.now();
        const due = await this.readModel.lease(
          this.process.name,
          now,
          after(now, this.options.lease ?? seconds(30)),
          Math.min(free, concurrency),
        );
        if (due.length === 0) break;
        for (const work of due) {
          this.running++;
          steps.push(
            this.run(work.id).finally(() => {
              this.running--;
              this.wake();
            }),
          );
        }
      }
      await this.sleepUntilDue();
    } catch (error) {
      this.options.onError(this.process.name, '', error);
      this.sleep(seconds(1));
    }
    if (this.stopped) await Promise.all(steps);
  }

  private async run(id: string): Promise<void> {
    try {
      await this.process.step(id);
      this.failures.delete(id);
      await this.options.catchUp();
      await this.readModel.unlease(this.process.name, id, this.clock.now());
    } catch (error) {
      this.options.onError(this.process.name, id, error);
      const failures = this.failures.get(id) ?? 0;
      this.failures.set(id, failures + 1);
      const delay = BACKOFF[Math.min(failures, BACKOFF.length - 1)]! * (0.5 + this.options.random());
      try {
        await this.readModel.unlease(this.process.name, id, after(this.clock.now(), ms(delay)));
      } catch {
        // The store is away: the lease runs out by itself and the work is taken up again.
      }
    }
  }

  private async sleepUntilDue(): Promise<void> {
    const next = await this.readModel.nextDue(this.process.name);
    if (next === null) return;
    this.sleep(ms(Math.max(10, Date.parse(next) - Date.parse(this.clock.now()))));
  }

  private sleep(duration: Milliseconds): void {
    this.cancelTimer();
    if (this.stopped) return;
    this.cancelTimer = this.clock.after(duration, () => this.wake());
  }
}
