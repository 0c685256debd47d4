import { type Position, type RecordedEvent, seconds, unavailable } from '@omnivisor/contracts';
import { assertKnown, type EventStore } from '@omnivisor/eventsourcing';
import type { Clock } from '@omnivisor/platform/ports';
import { World } from './world.js';

type Log = Pick<EventStore, 'readAll'>;

const BATCH = 1_000;

/** All events after one position, up to another. */
export async function* eventsBetween(log: Log, after: Position, until: Position): AsyncIterable<RecordedEvent> {
  for (let at = after; at < until; ) {
    const events = await log.readAll(at, BATCH);
    for (const event of events) {
      if (event.position > until) return;
      assertKnown(event);
      yield event;
    }
    if (events.length === 0) return;
    at = events.at(-1)!.position;
  }
}

/** Several reads of one moment share a world, for a while. */
const KEPT = 2;
const KEPT_FOR = seconds(60);
/** Moments whose world is waited for: each is a whole log to read, in a process that others need. */
const WAITED_FOR = 4;

/** The world as it was, folded from the first event beside the living one: one fold at a time. */
export class PastWorlds {
  private readonly kept = new Map<Position, Promise<World>>();
  private last: Promise<unknown> = Promise.resolve();
  private waiting = 0;

  constructor(
    private readonly log: Log,
    private readonly clock: Pick<Clock, 'after'>,
  ) {}

  /** @throws DomainError `unavailable` while too many moments are asked for; what the log throws */
  async at(position: Position): Promise<World> {
    const known = this.kept.get(position);
    if (known) return known;
    if (this.waiting >= WAITED_FOR) throw unavailable('others look back to other moments just now');
    this.waiting++;
    const world = this.last.then(() => this.fold(position));
    const forget = () => {
      if (this.kept.get(position) === world) this.kept.delete(position);
    };
    this.last = world.then(() => void this.clock.after(KEPT_FOR, forget), forget).finally(() => this.waiting--);
    this.kept.set(position, world);
    const [oldest] = this.kept.keys();
    if (this.kept.size > KEPT) this.kept.delete(oldest!);
    return world;
  }

  private async fold(position: Position): Promise<World> {
    const world = new World();
    for await (const event of eventsBetween(this.log, 0, position)) world.apply(event);
    return world;
  }
}
