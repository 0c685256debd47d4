import type { Milliseconds, Position } from '@omnivisor/contracts';
import { seconds } from '@omnivisor/contracts';
import { EventStoreUnavailable } from './event-store.js';
import { UnknownEvent } from './projection.js';

export interface LazyFollowerOptions {
  /** How far it has come. */
  checkpoint(): Promise<Position>;
  /** Goes on by one piece. @returns true when there is more to do at once */
  step(): Promise<boolean>;
  readonly clock: { after(duration: Milliseconds, action: () => void): () => void };
  readonly onError: (error: unknown) => void;
  /** How long it rests; 5 s when not given. */
  readonly every?: Milliseconds;
}

const INTERVAL = seconds(5);

/** Follows the log for what nobody waits for: in larger pieces every now and then, and at once when somebody asks. */
export class LazyFollower {
  /** Set when it stopped for good, e.g. on an unknown event. */
  failure: Error | undefined;
  private running: Promise<void> | undefined;
  private cancel = () => {};
  private stopped = true;

  constructor(private readonly options: LazyFollowerOptions) {}

  start(): void {
    this.stopped = false;
    this.later();
  }

  async stop(): Promise<void> {
    this.stopped = true;
    this.cancel();
    await this.running?.catch(() => {});
  }

  /**
   * Resolves once it has come to `position`.
   * @throws EventStoreUnavailable when the log ends before; UnknownEvent
   */
  async reach(position: Position): Promise<void> {
    for (let tries = 0; (await this.options.checkpoint()) < position; tries++) {
      if (this.failure) throw this.failure;
      // A run that had begun before may end before `position`; one that begins now does not.
      if (tries > 1) throw new EventStoreUnavailable(`the log ends before position ${position}`);
      await this.drain();
    }
  }

  private later(): void {
    if (this.stopped) return;
    this.cancel = this.options.clock.after(this.options.every ?? INTERVAL, () => {
      this.drain()
        .catch((error) => this.options.onError(error))
        .finally(() => this.later());
    });
  }

  private drain(): Promise<void> {
    this.running ??= this.run()
      .catch((error) => {
        if (error instanceof UnknownEvent) this.failure = error;
        throw error;
      })
      .finally(() => {
        this.running = undefined;
      });
    return this.running;
  }

  /** Also while stopped, when somebody asks: then one piece at a time. */
  private async run(): Promise<void> {
    while ((await this.options.step()) && !this.stopped);
  }
}
