import type { Milliseconds } from '@omnivisor/contracts';
import type { Clock } from '@omnivisor/platform/ports';

/** A promise of a process that is no more: nobody waits for it. */
const never = <T>(): Promise<T> => new Promise(() => {});

/** Calls of one process at one moment; one that makes more goes round and round, and time would stand still. */
const MOST_CALLS = 3_000;
export const GOES_ROUND = 'it goes round and round';

/** Where a process is to die: at a call of a port from now on, before the call has its effect or after. */
export interface Doom {
  readonly calls: number;
  readonly when: 'before' | 'after';
}

/**
 * One process from its start to its end. Everything it does to the world goes through `call` or `act`, so that it can
 * die at any of them: from then on it hears nothing, and nothing it does has an effect.
 */
export class Life {
  alive = true;
  /** Cut off from the bus, or from the store. */
  readonly cut = { bus: false, store: false };
  /** What its wall clock is ahead of time, in milliseconds. */
  skew = 0;
  /** Of an agent: the newest session that it was given. */
  session = 0;
  /** Calls of ports since time moved on. */
  private calls = 0;
  private doom: { calls: number; readonly when: Doom['when'] } | undefined;
  private readonly ends = new Set<() => void>();
  private readonly abort = new AbortController();

  constructor(
    readonly name: string,
    private readonly note: (line: string) => void,
  ) {}

  /** Aborts when it dies. */
  get signal(): AbortSignal {
    return this.abort.signal;
  }

  /** Dies at a later call. */
  dieAt(doom: Doom): void {
    this.doom ??= { ...doom };
  }

  /** Calls `action` when it dies; the result takes that back. */
  onEnd(action: () => void): () => void {
    this.ends.add(action);
    return () => this.ends.delete(action);
  }

  die(why: string): void {
    if (!this.alive) return;
    this.alive = false;
    this.note(`${this.name} dies: ${why}`);
    for (const end of [...this.ends]) end();
    this.abort.abort(new Error(`${this.name} has died`));
  }

  /** A call of a port whose answer is waited for. */
  call<T>(port: string, work: () => Promise<T>): Promise<T> {
    if (!this.alive) return never();
    this.note(`${this.name} ${port}`);
    if (++this.calls > MOST_CALLS) this.die(GOES_ROUND);
    const doomed = this.isDoomed();
    if (doomed === 'before') this.die(`at ${port}`);
    if (!this.alive) return never();
    const answered = <A>(answer: () => A): A | Promise<A> => {
      if (doomed === 'after') this.die(`after ${port}`);
      return this.alive ? answer() : never<A>();
    };
    return work().then(
      (value) => answered(() => value),
      (error) =>
        answered((): T => {
          throw error;
        }),
    );
  }

  /** A call of a port that answers at once. */
  act(port: string, work: () => void): void {
    if (!this.alive) return;
    this.note(`${this.name} ${port}`);
    const doomed = this.isDoomed();
    if (doomed === 'before') this.die(`at ${port}`);
    if (!this.alive) return;
    work();
    if (doomed === 'after') this.die(`after ${port}`);
  }

  /** What `work` gives, unless the process dies first. */
  orDeath<T>(work: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      if (!this.alive) return reject(new Error(`${this.name} has died`));
      const forget = this.onEnd(() => reject(new Error(`${this.name} has died`)));
      work().then(resolve, reject).finally(forget);
    });
  }

  /** The clock as this process sees it. */
  clock(world: Clock): Clock {
    const moved = (action: () => void) => () => {
      this.calls = 0;
      if (this.alive) action();
    };
    const after = (duration: Milliseconds, action: () => void): (() => void) => {
      let cancel = () => {};
      this.act('after', () => {
        cancel = world.after(duration, moved(action));
      });
      return () => cancel();
    };
    return {
      now: () => new Date(Date.parse(world.now()) + this.skew).toISOString() as ReturnType<Clock['now']>,
      after,
      sleep: (duration, signal) => this.call('sleep', () => world.sleep(duration, signal)),
    };
  }

  private isDoomed(): Doom['when'] | undefined {
    if (!this.doom || --this.doom.calls > 0) return undefined;
    const { when } = this.doom;
    this.doom = undefined;
    return when;
  }
}
