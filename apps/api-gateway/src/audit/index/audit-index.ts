import { type Milliseconds, type Position, type RecordedEvent, unavailable } from '@omnivisor/contracts';
import { EventStoreUnavailable, LazyFollower, upToUnknown } from '@omnivisor/eventsourcing';
import type { EventIndex, IndexQuery } from '@omnivisor/eventsourcing/event-index';
import type { GatewayCore } from '../../core/gateway-core.js';
import { eventsAt } from './events-at.js';
import { indexEntry, projectOf } from './index-entry.js';
import { StreamOwners } from './stream-owners.js';

/** An event, and whose matter it is: null for the cloud's own. */
export interface AuditedEvent {
  readonly event: RecordedEvent;
  readonly project: string | null;
}

/** Events that are read at once. */
const BATCH = 500;
/** Events that are indexed in one transaction. */
const STEP = 2_000;

/** Finds events of the log; everything that was acknowledged before a question is in its answer. */
export class AuditIndex {
  private readonly owners: StreamOwners;
  private readonly follower: LazyFollower;

  constructor(
    private readonly core: GatewayCore,
    private readonly index: EventIndex,
    onError: (where: string, error: unknown) => void,
  ) {
    this.owners = new StreamOwners(core.store);
    this.follower = new LazyFollower({
      checkpoint: () => index.checkpoint(),
      step: () => this.step(),
      clock: core.clock,
      onError: (error) => onError('index of the log', error),
    });
  }

  start(): void {
    this.follower.start();
  }

  stop(): Promise<void> {
    return this.follower.stop();
  }

  /**
   * @param patience how long to wait for the index when it is behind; undefined waits until it is there
   * @throws DomainError `unavailable`; UnknownEvent when the log has something that this release does not know
   */
  async find(query: IndexQuery, patience?: Milliseconds): Promise<AuditedEvent[]> {
    try {
      await this.reach(query.until, patience);
      const events = await eventsAt(this.core.store, await this.index.find(query));
      return await Promise.all(events.map((event) => this.audited(event)));
    } catch (error) {
      if (error instanceof EventStoreUnavailable) throw unavailable('the log cannot be reached', error);
      throw error;
    }
  }

  /** Everything that fits, a page at a time. */
  async *all(query: Omit<IndexQuery, 'limit' | 'order'>): AsyncIterable<AuditedEvent> {
    for (let after = query.after; ; ) {
      const page = await this.find({ ...query, after, order: 'oldest first', limit: BATCH });
      yield* page;
      const last = page.at(-1);
      if (!last || page.length < BATCH) return;
      after = last.event.position;
    }
  }

  /** The project of a server; null when there never was one. */
  ownerOf(serverId: string): Promise<string | null> {
    return this.owners.of(`server-${serverId}`);
  }

  async audited(event: RecordedEvent): Promise<AuditedEvent> {
    return { event, project: await projectOf(event, this.owners) };
  }

  private async reach(position: Position, patience: Milliseconds | undefined): Promise<void> {
    const there = this.follower.reach(position);
    if (patience === undefined) return there;
    let cancel = () => {};
    const late = new Promise<never>((_, reject) => {
      const refused = unavailable('The index of the log is still being built. Please try again.');
      cancel = this.core.clock.after(patience, () => reject(refused));
    });
    // It goes on behind whoever has gone away.
    there.catch(() => {});
    await Promise.race([there, late]).finally(() => cancel());
  }

  private async step(): Promise<boolean> {
    let read = 0;
    await this.index.advance(async (from: Position) => {
      const page = await this.core.store.readAll(from, STEP);
      read = page.length;
      const events = upToUnknown(page);
      const entries = await Promise.all(events.map((event) => indexEntry(event, this.owners)));
      return { to: events.at(-1)?.position ?? from, entries };
    });
    return read === STEP;
  }
}
