import type { Instant, Milliseconds } from '@omnivisor/contracts';

/** Time as the system sees it. Virtual in simulation; nothing that is simulated reads another clock. */
export interface Clock {
  now(): Instant;
  /** Resolves after `duration`, or at once when `signal` aborts. Never rejects. */
  sleep(duration: Milliseconds, signal?: AbortSignal): Promise<void>;
  /** Calls `action` once after `duration`; the result cancels it. */
  after(duration: Milliseconds, action: () => void): () => void;
}

export class SystemClock implements Clock {
  now(): Instant {
    return new Date().toISOString() as Instant;
  }

  sleep(duration: Milliseconds, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal?.aborted) return resolve();
      const done = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', done);
        resolve();
      };
      const timer = setTimeout(done, duration);
      signal?.addEventListener('abort', done);
    });
  }

  after(duration: Milliseconds, action: () => void): () => void {
    const timer = setTimeout(action, duration);
    return () => clearTimeout(timer);
  }
}
