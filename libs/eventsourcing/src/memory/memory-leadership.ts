import type { Leadership } from '../leadership.js';

/** One seat for the replicas of one process. */
export class MemorySeat {
  private readonly line: MemoryLeadership[] = [];

  enter(candidate: MemoryLeadership): void {
    this.line.push(candidate);
    if (this.line[0] === candidate) candidate.lead();
  }

  async leave(candidate: MemoryLeadership): Promise<void> {
    const at = this.line.indexOf(candidate);
    if (at < 0) return;
    this.line.splice(at, 1);
    if (at === 0) {
      await candidate.resign();
      this.line[0]?.lead();
    }
  }
}

export class MemoryLeadership implements Leadership {
  private gained: () => Promise<void> = async () => {};
  private lost: () => Promise<void> = async () => {};
  private turn: Promise<void> = Promise.resolve();

  constructor(private readonly seat: MemorySeat = new MemorySeat()) {}

  campaign(gained: () => Promise<void>, lost: () => Promise<void>): void {
    this.gained = gained;
    this.lost = lost;
    this.seat.enter(this);
  }

  stop(): Promise<void> {
    return this.seat.leave(this);
  }

  lead(): void {
    this.turn = this.turn.then(() => this.gained());
  }

  resign(): Promise<void> {
    this.turn = this.turn.then(() => this.lost());
    return this.turn;
  }
}
