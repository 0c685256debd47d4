import { createHash } from 'node:crypto';

/** Everything that happened, in its order, as one hash: two runs of a seed have the same. */
export class Trace {
  private readonly hash = createHash('sha256');
  private readonly kept: string[] = [];
  lines = 0;

  /** @param keeps the lines are wanted as well */
  constructor(private readonly keeps = false) {}

  note(line: string): void {
    this.lines++;
    this.hash.update(line).update('\n');
    if (this.keeps) this.kept.push(line);
  }

  digest(): string {
    return this.hash.copy().digest('hex');
  }

  text(): readonly string[] {
    return this.kept;
  }
}
