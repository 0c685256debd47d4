import type { Milliseconds } from '@omnivisor/contracts';
import { seconds } from '@omnivisor/contracts';
import type { Checkpoint } from '@omnivisor/eventsourcing/seal';

/** A place that nobody who can change the log can change: that is what checkpoints are sent for. */
export interface CheckpointPlace {
  readonly name: string;
  /** At most one checkpoint in this time. */
  readonly every: Milliseconds;
  put(checkpoint: Checkpoint): Promise<void>;
}

interface Timer {
  after(duration: Milliseconds, action: () => void): () => void;
}

const RETRY = seconds(10);

/** Sends the newest checkpoint to one place, and again until it is there; those that came between speak through it. */
export class CheckpointOutlet {
  /** Size of the newest checkpoint that is there; 0 before the first. */
  sent = 0;
  private waiting: Checkpoint | undefined;
  private sending: Promise<void> | undefined;
  private cancel: (() => void) | undefined;

  constructor(
    private readonly place: CheckpointPlace,
    private readonly timer: Timer,
    private readonly onError: (where: string, error: unknown) => void,
  ) {}

  get name(): string {
    return this.place.name;
  }

  send(checkpoint: Checkpoint): void {
    this.waiting = checkpoint;
    if (!this.sending && !this.cancel) this.sending = this.work();
  }

  /** Sends what waits, once. */
  async stop(): Promise<void> {
    await this.sending;
    this.cancel?.();
    if (this.waiting) await this.work();
    this.cancel?.();
  }

  private async work(): Promise<void> {
    const checkpoint = this.waiting!;
    let pause = this.place.every;
    try {
      await this.place.put(checkpoint);
      this.sent = checkpoint.size;
      if (this.waiting === checkpoint) this.waiting = undefined;
    } catch (error) {
      pause = RETRY;
      this.onError(`checkpoint to ${this.name}`, error);
    }
    this.sending = undefined;
    this.cancel = this.timer.after(pause, () => {
      this.cancel = undefined;
      if (this.waiting) this.sending = this.work();
    });
  }
}
