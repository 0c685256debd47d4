import type { Position, RecordedEvent } from '@omnivisor/contracts';
import { assertKnown, type EventStore } from '@omnivisor/eventsourcing';
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

/** Several reads of one moment share a world. */
const KEPT = 2;

/** The world as it was, folded from the first event beside the living one: one fold at a time. */
export class PastWorlds {
  private readonly kept = new Map<Position, Promise<World>>();
  private last: Promise<unknown> = Promise.resolve();

  constructor(private readonly log: Log) {}

  /** @throws what the log throws */
  at(position: Position): Promise<World> {
    const known = this.kept.get(position);
    if (known) return known;
    const world = this.last.then(() => this.fold(position));
    this.last = world.catch(() => this.kept.delete(position));
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
