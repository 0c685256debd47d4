import { type Instant, seconds } from '@omnivisor/contracts';
import type { Clock } from '@omnivisor/platform/ports';

/** How long an answer of the log counts: work of several steps asks again after this. */
const FRESH = seconds(3);

/** Leave to change something on the host, had from the log before the first step and again when it is no longer fresh. */
export class Leave {
  private until = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly ask: () => Promise<void>,
    private readonly clock: Clock,
    /** Aborts when the work is given up. */
    readonly signal: AbortSignal,
  ) {}

  /** Another question, asked at `at` (now, when not told), has brought the same answer. */
  given(at: Instant = this.clock.now()): void {
    this.until = Date.parse(at) + FRESH;
  }

  /**
   * Goes before each change.
   * @throws NotAskedFor; the signal's reason when the work is given up; DomainError when nobody answers
   */
  async step(): Promise<void> {
    this.signal.throwIfAborted();
    if (Date.parse(this.clock.now()) <= this.until) return;
    await this.ask();
    this.given();
    this.signal.throwIfAborted();
  }
}
