import { seconds } from '@omnivisor/contracts';
import type { Leadership } from '@omnivisor/eventsourcing';
import type { Clock } from '@omnivisor/platform/ports';
import type { Life } from './life.js';

interface Candidate {
  readonly life: Life;
  readonly gained: () => Promise<void>;
  readonly lost: () => Promise<void>;
  /** It lost the lock, and does not know yet. */
  deluded: boolean;
  stopped: boolean;
}

const AGAIN = seconds(1);

/** The lock that one of several processes holds; with `usurp` a second one gets it while the first still acts on it. */
export class SimulatedSeat {
  private line: Candidate[] = [];
  private holder: Candidate | undefined;

  constructor(private readonly clock: Clock) {}

  leadershipFor(life: Life): Leadership {
    let own: Candidate | undefined;
    return {
      campaign: (gained, lost) => {
        own = { life, gained, lost, deluded: false, stopped: false };
        life.onEnd(() => this.leave(own!));
        this.stand(own);
      },
      stop: async () => {
        if (!own) return;
        own.stopped = true;
        const led = this.holder === own || own.deluded;
        this.leave(own);
        if (led) await own.lost();
      },
    };
  }

  /** The next in line leads from now on; who led until now learns of it after a while. */
  usurp(seconds: number): void {
    const before = this.holder;
    if (!before || this.line.length === 0) return;
    before.deluded = true;
    this.holder = undefined;
    this.next();
    this.clock.after((seconds * 1_000) as typeof AGAIN, () => {
      // It may have learned of it otherwise, and lead again by now.
      if (before.deluded) void this.resign(before);
    });
  }

  private stand(candidate: Candidate): void {
    if (candidate.stopped || !candidate.life.alive) return;
    this.line.push(candidate);
    if (!this.holder) this.next();
  }

  private leave(candidate: Candidate): void {
    this.line = this.line.filter((c) => c !== candidate);
    if (this.holder !== candidate) return;
    this.holder = undefined;
    this.next();
  }

  private async resign(candidate: Candidate): Promise<void> {
    if (!candidate.life.alive || candidate.stopped) return;
    candidate.deluded = false;
    await candidate.lost();
    this.clock.after(AGAIN, () => this.stand(candidate));
  }

  private next(): void {
    const candidate = this.line.shift();
    this.holder = candidate;
    if (!candidate) return;
    candidate.gained().catch(async () => {
      this.leave(candidate);
      await this.resign(candidate);
    });
  }
}
