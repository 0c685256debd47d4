import { unavailable } from '@omnivisor/contracts';

/** Lets so many work at one time; so many may wait, more are sent away. */
export class Turns {
  private working = 0;
  private readonly waiting: (() => void)[] = [];

  constructor(
    private readonly width: number,
    private readonly room: number,
  ) {}

  /** @throws DomainError `unavailable` when too many wait already */
  async take<T>(work: () => Promise<T>): Promise<T> {
    if (this.working >= this.width) {
      if (this.waiting.length >= this.room) throw unavailable('Too much waits already. Please try again.');
      await new Promise<void>((resolve) => this.waiting.push(resolve));
    } else this.working++;
    try {
      return await work();
    } finally {
      const next = this.waiting.shift();
      if (next) next();
      else this.working--;
    }
  }
}
