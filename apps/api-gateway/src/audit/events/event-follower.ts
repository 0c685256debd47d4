import { Readable } from 'node:stream';
import { invalid, type Position, seconds, unavailable } from '@omnivisor/contracts';
import { LOG_APPENDED } from '@omnivisor/eventsourcing';
import type { IndexQuery } from '@omnivisor/eventsourcing/event-index';
import type { GatewayCore } from '../../core/gateway-core.js';
import type { AuditedEvent, AuditIndex } from '../index/audit-index.js';

export interface FollowOptions {
  readonly filter: Pick<IndexQuery, 'project' | 'actor' | 'resource' | 'types'>;
  /** Events after this position; undefined for those that come from now on. */
  readonly after: Position | undefined;
  readonly view: (event: AuditedEvent) => object;
  /** Whether the caller may still see it; asked every now and then. */
  readonly allowed: () => Promise<boolean>;
  /** Aborted when the caller is gone. */
  readonly signal: AbortSignal;
}

const MAX_FOLLOWERS = 64;
const PAGE = 200;
/** The net below lost wake-ups, and the time between two looks at the caller's token. */
const ROUND = seconds(5);

/** Tells callers of events as they come: server-sent events, each with its position as id. */
export class EventFollower {
  private readonly waiting = new Set<() => void>();
  private readonly stops: (() => unknown)[] = [];
  private followers = 0;
  private stopped = false;

  constructor(
    private readonly core: GatewayCore,
    private readonly index: AuditIndex,
  ) {}

  async start(): Promise<void> {
    const appended = await this.core.bus.subscribe(LOG_APPENDED, () => this.wake());
    this.stops.push(
      () => appended.close(),
      this.core.store.subscribe(() => this.wake()),
    );
  }

  /** Ends what runs. */
  async stop(): Promise<void> {
    this.stopped = true;
    this.wake();
    for (const stop of this.stops) await stop();
  }

  /**
   * @throws DomainError `unavailable` when too many follow already; `invalid` beyond the end: an older log has been restored,
   * and whoever waits for that position would miss what comes before
   */
  async follow(options: FollowOptions): Promise<Readable> {
    if (this.followers >= MAX_FOLLOWERS) throw unavailable('Too many follow the log. Please try again.');
    const head = await this.core.head();
    const from = options.after ?? head;
    if (from > head) throw invalid(`The log ends at position ${head}.`);
    this.followers++;
    const stream = Readable.from(this.messages(options, from));
    stream.once('close', () => this.followers--);
    options.signal.addEventListener('abort', () => stream.destroy());
    return stream;
  }

  private async *messages({ filter, view, allowed, signal }: FollowOptions, from: Position): AsyncIterable<string> {
    yield ': following the log\n\n';
    for (let at = from; !this.stopped && !signal.aborted; ) {
      if (!(await allowed())) return;
      const news = this.nextNews(signal);
      const until = await this.core.head();
      const found = until > at ? await this.index.find(query(filter, at, until)) : [];
      for (const audited of found)
        yield `id: ${audited.event.position}\nevent: ${audited.event.type}\ndata: ${JSON.stringify(view(audited))}\n\n`;
      const isWhole = found.length < PAGE;
      at = isWhole ? Math.max(at, until) : found.at(-1)!.event.position;
      if (!isWhole) continue;
      await news;
      // Keeps what stands between from ending a quiet connection.
      yield ':\n\n';
    }
  }

  private nextNews(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        cancel();
        this.waiting.delete(done);
        signal.removeEventListener('abort', done);
        resolve();
      };
      const cancel = this.core.clock.after(ROUND, done);
      this.waiting.add(done);
      signal.addEventListener('abort', done);
    });
  }

  private wake(): void {
    for (const done of [...this.waiting]) done();
  }
}

const query = (filter: FollowOptions['filter'], after: Position, until: Position): IndexQuery => ({
  ...filter,
  after,
  until,
  order: 'oldest first',
  limit: PAGE,
});
