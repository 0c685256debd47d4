import { unavailable } from '@omnivisor/contracts';

/** Who takes a turn. */
export interface Taker {
  /** Whose it is; turns go round among those who wait. */
  readonly of: string;
  /** Goes before all that do not. It may become so while it waits: then `hurry`. */
  first?: boolean;
  /** Ends the wait, with its reason. */
  readonly signal?: AbortSignal;
}

export interface TurnBounds {
  /** At work at one time. */
  readonly width: number;
  /** Of these, of one owner; all of them when not given. */
  readonly share?: number;
  /** Of one owner only as many as it leaves for others; it is alone, then, with a half. */
  readonly leaving?: boolean;
  /** At work besides, of those that go first. */
  readonly reserved?: number;
  /** Of one owner, how many may wait. */
  readonly room: number;
}

interface Turn {
  readonly of: string;
  readonly first: boolean;
}

interface Waiting {
  readonly taker: Taker;
  readonly enter: () => void;
}

/** Of all owners together. */
const WAITING = 512;

/** Lets so many work at one time, and no owner before all others; so many may wait, more are sent away. */
export class Turns {
  private readonly waiting = new Set<Waiting>();
  private readonly working = new Set<Turn>();
  /** By owner that waits or works: when it last got a turn. */
  private readonly served = new Map<string, number>();
  private turns = 0;

  constructor(private readonly bounds: TurnBounds) {}

  /** @throws DomainError `unavailable` when too many wait already; the reason of the taker's signal */
  async take<T>(taker: Taker, work: () => Promise<T>): Promise<T> {
    taker.signal?.throwIfAborted();
    const turn = this.mayWork(taker) ? this.enter(taker) : await this.wait(taker);
    try {
      return await work();
    } finally {
      this.leave(turn);
    }
  }

  /** A turn at once. @returns gives it back; null when there is none now */
  takeNow(taker: Taker): (() => void) | null {
    if (!this.mayWork(taker)) return null;
    const turn = this.enter(taker);
    return () => this.leave(turn);
  }

  /** Call it when somebody who waits goes first from now on. */
  hurry(): void {
    this.pass();
  }

  private async wait(taker: Taker): Promise<Turn> {
    const mine = [...this.waiting].filter((w) => w.taker.of === taker.of).length;
    if (mine >= this.bounds.room || this.waiting.size >= WAITING)
      throw unavailable('Too much waits already. Please try again.');
    return new Promise<Turn>((resolve, reject) => {
      const leave = () => {
        this.waiting.delete(waiting);
        taker.signal?.removeEventListener('abort', aborted);
      };
      const aborted = () => {
        leave();
        this.forget(taker.of);
        reject(taker.signal!.reason);
      };
      const waiting = {
        taker,
        enter: () => {
          leave();
          resolve(this.enter(taker));
        },
      };
      this.waiting.add(waiting);
      taker.signal?.addEventListener('abort', aborted);
    });
  }

  private enter({ of, first }: Taker): Turn {
    const turn = { of, first: first === true };
    this.working.add(turn);
    this.served.set(of, ++this.turns);
    return turn;
  }

  private leave(turn: Turn): void {
    this.working.delete(turn);
    this.forget(turn.of);
    this.pass();
  }

  private mayWork(taker: Taker): boolean {
    const { width, share = width, leaving = false, reserved = 0 } = this.bounds;
    if (this.working.size >= width + reserved) return false;
    if (taker.first) return true;
    const others = [...this.working].filter((turn) => !turn.first);
    const free = width - others.length;
    return free > 0 && others.filter((turn) => turn.of === taker.of).length < (leaving ? Math.min(share, free) : share);
  }

  /** Those that go first, then of the owner that had no turn for the longest time, then who came first. */
  private pass(): void {
    for (;;) {
      const [next] = [...this.waiting]
        .filter((w) => this.mayWork(w.taker))
        .sort(
          (a, b) => Number(b.taker.first ?? false) - Number(a.taker.first ?? false) || this.since(a) - this.since(b),
        );
      if (!next) return;
      next.enter();
    }
  }

  private since({ taker }: Waiting): number {
    return this.served.get(taker.of) ?? 0;
  }

  private forget(owner: string): void {
    const here = (one: { readonly of: string }) => one.of === owner;
    if (![...this.working].some(here) && ![...this.waiting].some((w) => here(w.taker))) this.served.delete(owner);
  }
}
