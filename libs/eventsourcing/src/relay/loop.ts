import type { Milliseconds } from '@omnivisor/contracts';
import { ms } from '@omnivisor/contracts';
import type { EventStore } from '../event-store.js';

export interface LoopOptions {
  readonly store: Pick<EventStore, 'subscribe'>;
  readonly clock: { after(duration: Milliseconds, action: () => void): () => void };
  /** The net below lost wake-ups; 1 s when not given. */
  readonly poll?: Milliseconds | undefined;
  /** How long it waits for more after an append: the world outside may hear of many at once; 250 ms when not given. */
  readonly gather?: Milliseconds | undefined;
  /** @returns true when there may be more to do at once */
  readonly step: () => Promise<boolean>;
  /** @returns true when it has to end for good */
  readonly failed: (error: unknown) => boolean;
}

/** Does a step after each append, and every now and then; one at a time. */
export class Loop {
  /** True while a step was asked for that has not begun. */
  again = false;
  private running: Promise<void> | undefined;
  private stopped = true;
  private ended = false;
  private cancel = () => {};
  private gathering = false;
  private cancelGathering = () => {};
  private unsubscribe = () => {};

  constructor(private readonly options: LoopOptions) {}

  start(): void {
    this.stopped = false;
    this.unsubscribe = this.options.store.subscribe(() => this.wakeSoon());
    this.wake();
  }

  /** Something may have been appended. */
  wake(): void {
    if (this.stopped || this.ended) return;
    if (this.running) {
      this.again = true;
      return;
    }
    this.cancel();
    this.running = this.run().finally(() => {
      this.running = undefined;
      if (this.stopped || this.ended) return;
      this.cancel = this.options.clock.after(this.options.poll ?? ms(1_000), () => this.wake());
      if (this.again) {
        this.again = false;
        this.wake();
      }
    });
  }

  private wakeSoon(): void {
    if (this.gathering || this.stopped) return;
    this.gathering = true;
    this.cancelGathering = this.options.clock.after(this.options.gather ?? ms(250), () => {
      this.gathering = false;
      this.wake();
    });
  }

  async stop(): Promise<void> {
    this.stopped = true;
    this.unsubscribe();
    this.cancelGathering();
    this.gathering = false;
    await this.running;
    this.cancel();
  }

  private async run(): Promise<void> {
    try {
      while (!this.stopped && (await this.options.step()));
    } catch (error) {
      this.ended = this.options.failed(error);
    }
  }
}
