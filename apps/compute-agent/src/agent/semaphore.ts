/** Lets `limit` pieces of work run at once; the others wait in line. */
export class Semaphore {
  private running = 0;
  private readonly waiting: (() => void)[] = [];

  constructor(private readonly limit: number) {}

  /** @throws the signal's reason when it aborts before the work's turn has come */
  async use<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    if (this.running < this.limit) this.running++;
    else await this.turn(signal);
    try {
      signal?.throwIfAborted();
      return await work();
    } finally {
      // The next one takes over the place of this one.
      const next = this.waiting.shift();
      if (next) next();
      else this.running--;
    }
  }

  private turn(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = () => {
        this.waiting.splice(this.waiting.indexOf(come), 1);
        reject(signal?.reason);
      };
      const come = () => {
        signal?.removeEventListener('abort', leave);
        resolve();
      };
      if (signal?.aborted) return reject(signal.reason);
      this.waiting.push(come);
      signal?.addEventListener('abort', leave, { once: true });
    });
  }
}
