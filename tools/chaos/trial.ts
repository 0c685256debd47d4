import { setTimeout as pause } from 'node:timers/promises';
import type { RecordedEvent } from '@omnivisor/contracts';
import type { ChaosCloud } from './chaos-cloud.js';
import { deedsOf } from './deeds.js';
import type { Fault } from './fault.js';
import { broken, failures, lost, twice, unequal, violated } from './judge.js';

/** What came of a fault. */
export interface Row {
  readonly fault: string;
  readonly accepted: number;
  /** Requests that were answered 503 or 429. */
  readonly unavailable: number;
  /** Requests without an answer. */
  readonly cut: number;
  /** Accepted requests that failed later, and the log says why. */
  readonly failed: number;
  /** Seconds from the last request to the moment when all was at rest; null when it never was. */
  readonly rest: number | null;
  readonly lost: readonly string[];
  readonly twice: readonly string[];
  /** What else must not be. */
  readonly wrong: readonly string[];
}

export interface Times {
  /** Seconds that a fault lasts which does not end by itself. */
  readonly seconds: number;
  /** Seconds of load before it, and after it. */
  readonly around: number;
}

/** Puts a cloud under load, hurts it, mends it, and judges what is left. */
export class Trial {
  private before: readonly RecordedEvent[] = [];
  private readonly told = new Set<string>();

  constructor(
    private readonly chaos: ChaosCloud,
    private readonly times: Times,
  ) {}

  async suffer(fault: Fault): Promise<Row> {
    const { load, guests } = this.chaos;
    const wrong: string[] = [];
    /** Goes on after a failure: what is left is judged all the same. */
    const noting = async <T>(what: () => Promise<T> | undefined): Promise<T | undefined> => {
      try {
        return await what();
      } catch (error) {
        wrong.push((error as Error).message);
        return undefined;
      }
    };
    const takeBack = await noting(() => fault.prepare?.(this.chaos));
    load.start((await this.chaos.servers()).map((s) => s.id));
    await pause(this.times.around * 1_000);
    const mend = await noting(() => fault.inflict(this.chaos));
    if (fault.lasts) await pause(this.times.seconds * 1_000);
    await noting(() => mend?.());
    await pause(this.times.around * 1_000);
    const tally = await load.stop();
    const from = Date.now();
    wrong.push(...tally.unforeseen);
    if (fault.unnoticed && tally.unavailable + tally.cut > 0)
      wrong.push(
        `${tally.unavailable} requests were refused, ${tally.cut} had no answer`,
        ...[...tally.excuses].map(([words, times]) => `${times} times ${words}`),
      );
    const atRest = await noting(async () => {
      await this.chaos.atRest();
      return Date.now();
    });
    const rest = atRest === undefined ? null : (atRest - from) / 1_000;
    await noting(() => takeBack?.());
    const log = await this.chaos.log();
    const fresh = log.slice(this.before.length);
    const deeds = deedsOf(log, guests.changes);
    const made = deeds.filter((d) => d.kind === 'made');
    wrong.push(...this.news([...broken(log, this.before), ...violated(log, deeds)]));
    if (rest !== null) wrong.push(...unequal(log, await this.chaos.found(), guests.now()));
    this.before = log;
    return {
      fault: fault.name,
      accepted: tally.accepted.length,
      unavailable: tally.unavailable,
      cut: tally.cut,
      failed: failures(fresh).length,
      rest,
      lost: lost(log, tally.accepted, tally.seen),
      twice: this.news(twice(log, made)),
      wrong,
    };
  }

  /** Of what the whole log shows, that which was not told after an earlier fault. */
  private news(violations: readonly string[]): string[] {
    const fresh = violations.filter((v) => !this.told.has(v));
    for (const violation of fresh) this.told.add(violation);
    return fresh;
  }
}
