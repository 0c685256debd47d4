import type { Instant, Milliseconds } from '@omnivisor/contracts';
import type { Clock } from '../ports/index.js';

interface Timer {
  readonly at: number;
  readonly order: number;
  readonly action: () => void;
}

/** Time that moves only when told to. Timers fire in order of time, then of their making. */
export class VirtualClock implements Clock {
  private time: number;
  private order = 0;
  private timers: Timer[] = [];

  constructor(start = '2026-01-01T00:00:00.000Z') {
    this.time = Date.parse(start);
  }

  now(): Instant {
    return new Date(this.time).toISOString() as Instant;
  }

  sleep(duration: Milliseconds, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal?.aborted) return resolve();
      const done = () => {
        cancel();
        signal?.removeEventListener('abort', done);
        resolve();
      };
      const cancel = this.after(duration, done);
      signal?.addEventListener('abort', done);
    });
  }

  after(duration: Milliseconds, action: () => void): () => void {
    const timer: Timer = { at: this.time + Math.max(0, duration), order: this.order++, action };
    const index = this.timers.findIndex((t) => t.at > timer.at);
    if (index < 0) this.timers.push(timer);
    else this.timers.splice(index, 0, timer);
    return () => {
      this.timers = this.timers.filter((t) => t !== timer);
    };
  }

  /** Lets everything that is ready run, then moves to the next timer; until `done` holds or `limit` has passed. */
  async runUntil(done: () => boolean | Promise<boolean>, limit: Milliseconds = 600_000 as Milliseconds): Promise<void> {
    const end = this.time + limit;
    for (;;) {
      await settle();
      if (await done()) return;
      const next = this.timers[0];
      if (!next || next.at > end) throw new Error(`not reached within ${limit} ms of virtual time`);
      this.timers.shift();
      this.time = Math.max(this.time, next.at);
      next.action();
    }
  }

  /** Moves on by `duration`, firing what falls due on the way. */
  async advance(duration: Milliseconds): Promise<void> {
    const end = this.time + duration;
    for (;;) {
      await settle();
      const next = this.timers[0];
      if (!next || next.at > end) break;
      this.timers.shift();
      this.time = next.at;
      next.action();
    }
    this.time = end;
    await settle();
  }
}

/** Runs all promise callbacks that are ready, and those they make ready. */
const settle = async (): Promise<void> => {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
};
