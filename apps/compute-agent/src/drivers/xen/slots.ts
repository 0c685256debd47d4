/** Places for so many actions at once; others wait in the order of their call. */
export class Slots {
  private readonly queue: (() => void)[] = [];

  constructor(private free: number) {}

  /** @param patience milliseconds for a place to become free @param late what is thrown then */
  async run<T>(patience: number, late: () => Error, action: () => Promise<T>): Promise<T> {
    if (this.free > 0) this.free--;
    else await this.turn(patience, late);
    try {
      return await action();
    } finally {
      const next = this.queue.shift();
      if (next) next();
      else this.free++;
    }
  }

  private turn(patience: number, late: () => Error): Promise<void> {
    return new Promise((resolve, reject) => {
      const next = () => {
        clearTimeout(timer);
        resolve();
      };
      const timer = setTimeout(() => {
        this.queue.splice(this.queue.indexOf(next), 1);
        reject(late());
      }, patience);
      this.queue.push(next);
    });
  }
}
