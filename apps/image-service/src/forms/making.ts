import { type Milliseconds, seconds, unavailable } from '@omnivisor/contracts';
import type { Clock } from '@omnivisor/platform';
import type { Taker } from './turns.js';

/** Who asks for a form. */
export interface Asker {
  /** Whose turn it takes: the project. */
  readonly of: string;
  /** A host needs it for a server: that goes before what users fetch. */
  readonly host?: boolean;
}

/** How long a form is made on that nobody waits for now: whoever was told to come again will. */
const KEPT_FOR_USERS = seconds(120);
const KEPT_FOR_HOSTS = seconds(600);

/** A form that is being made, and who waits for it. It ends when nobody does any more. */
export class Making<T> {
  readonly taker: Taker;
  /** The form it is put together from, while that is made. */
  under: Making<T> | undefined;
  private readonly ending = new AbortController();
  private readonly result: Promise<T>;
  private keptFor: Milliseconds = KEPT_FOR_USERS;
  private waiting = 0;
  private over = false;
  private cancel = () => {};

  constructor(
    private readonly clock: Clock,
    readonly imageId: string,
    { of }: Asker,
    work: (making: Making<T>) => Promise<T>,
    onOver: () => void,
  ) {
    this.taker = { of, signal: this.ending.signal };
    this.result = work(this).finally(() => {
      this.over = true;
      this.cancel();
      onOver();
    });
    // Whoever waits hears of it; nobody may.
    this.result.catch(() => {});
  }

  get signal(): AbortSignal {
    return this.ending.signal;
  }

  /** True when it ended because it was told to: nothing is wrong then. */
  get ended(): boolean {
    return this.ending.signal.aborted;
  }

  /** It is for a host now. @returns false when it was before */
  hurry(): boolean {
    this.keptFor = KEPT_FOR_HOSTS;
    const news = this.taker.first !== true;
    this.taker.first = true;
    return this.under?.hurry() || news;
  }

  /** Waits for the form, or until `until` has another answer. @throws what went wrong with either */
  async wait<U>(until: Promise<U>): Promise<T | U> {
    this.waiting++;
    this.cancel();
    try {
      return await Promise.race([this.result, until]);
    } finally {
      if (--this.waiting === 0 && !this.over)
        this.cancel = this.clock.after(this.keptFor, () =>
          this.end(unavailable('Nobody waited for the conversion any more. Please try again.')),
        );
    }
  }

  /** Ends the work, with this reason for those who wait. */
  end(reason: Error): void {
    this.ending.abort(reason);
  }

  /** Resolves when nothing is under way any more. */
  async settled(): Promise<void> {
    await Promise.allSettled([this.result]);
  }
}
