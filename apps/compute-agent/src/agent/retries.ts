import { backoff, type Milliseconds, ms, seconds } from '@omnivisor/contracts';
import type { Clock } from '@omnivisor/platform/ports';

const PAUSES = { first: ms(500), longest: seconds(15) };

/** Tries that failed, each under a key, done again after pauses that grow with each failure in a row. */
export class Retries {
  private readonly failures = new Map<string, number>();
  private readonly timers = new Map<string, { readonly cancel: () => void; readonly action: () => void }>();

  constructor(
    private readonly clock: Clock,
    /** A number in [0, 1). */
    private readonly random: () => number,
  ) {}

  /** It failed: `action` comes after a pause, in the place of an earlier one of the key. */
  later(key: string, action: () => void): void {
    this.timers.get(key)?.cancel();
    const cancel = this.clock.after(this.pause(key), () => {
      this.timers.delete(key);
      action();
    });
    this.timers.set(key, { cancel, action });
  }

  /** The pause after one more failure of the key. */
  pause(key: string): Milliseconds {
    const failures = this.failures.get(key) ?? 0;
    this.failures.set(key, failures + 1);
    return backoff(failures, this.random(), PAUSES);
  }

  /** It went well: the next failure of the key is its first one. */
  succeeded(key: string): void {
    this.failures.delete(key);
  }

  /** What they all waited for may have come back. */
  now(): void {
    for (const [key, { cancel, action }] of [...this.timers]) {
      cancel();
      this.timers.delete(key);
      action();
    }
  }

  cancel(): void {
    for (const { cancel } of this.timers.values()) cancel();
    this.timers.clear();
  }
}
