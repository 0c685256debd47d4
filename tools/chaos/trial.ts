import { setTimeout as pause } from 'node:timers/promises';
import type { RecordedEvent } from '@omnivisor/contracts';
import type { Deed } from '../simulate/faults/evidence.js';
import type { ChaosCloud } from './chaos-cloud.js';
import type { Fault } from './faults.js';
import { broken, failures, lost, streamsOf, twice, unequal, violated } from './judge.js';

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
    load.start((await this.chaos.servers()).map((s) => s.id));
    let mend: (() => Promise<void>) | undefined;
    try {
      await pause(this.times.around * 1_000);
      mend = await fault.inflict(this.chaos);
      if (fault.lasts) await pause(this.times.seconds * 1_000);
    } finally {
      await mend?.();
      await pause(this.times.around * 1_000);
      await load.stop();
    }
    const { tally } = load;
    const from = Date.now();
    const wrong = [...tally.unforeseen];
    const rest = await this.chaos.atRest().then(
      () => (Date.now() - from) / 1_000,
      (error: Error) => {
        wrong.push(error.message);
        return null;
      },
    );
    const log = await this.chaos.log();
    const fresh = log.slice(this.before.length);
    const streams = streamsOf(log);
    const deeds = guests.changes.map((change): Deed => {
      const stream = streams.get(`server-${change.serverId}`) ?? [];
      return { ...change, host: change.host as never, at: 0 as never, epoch: 0, stream, discarded: false };
    });
    const made = deeds.filter((d) => d.kind === 'made');
    wrong.push(...broken(log, this.before), ...violated(log, deeds));
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
      wrong: this.news(wrong),
    };
  }

  /** What an earlier fault was not blamed for. */
  private news(violations: readonly string[]): string[] {
    const fresh = violations.filter((v) => !this.told.has(v));
    for (const violation of fresh) this.told.add(violation);
    return fresh;
  }
}
