import {
  invalid,
  type PlacementEvent,
  type Position,
  type ProviderEvent,
  type RecordedEvent,
} from '@omnivisor/contracts';
import type { EventStore } from '@omnivisor/eventsourcing';
import { eventsBetween } from '../core/past-worlds.js';
import { World } from '../core/world.js';
import { PastRequests } from './past-requests.js';

type Log = Pick<EventStore, 'readAll'>;
/** The event that a decision about a place became. */
export type Decided = RecordedEvent &
  Extract<ProviderEvent | PlacementEvent, { type: 'AllocationClaimed' | 'PlacementRefused' }>;

export const isDecided = (event: RecordedEvent | undefined): event is Decided =>
  event?.type === 'AllocationClaimed' || event?.type === 'PlacementRefused';

/** @throws DomainError `invalid` for a position where no decision stands */
export const decisionAt = async (log: Log, position: Position): Promise<Decided> => {
  const [event] = await log.readAll(position - 1, 1);
  if (event?.position !== position || !isDecided(event)) throw invalid(`no placement decision at position ${position}`);
  return event;
};

/** What the scheduler knew at a moment that only goes forward, folded from the log beside the living one. */
export class Past {
  readonly world = new World();
  readonly requests = new PastRequests();

  constructor(private readonly log: Log) {}

  async goTo(position: Position): Promise<void> {
    for await (const event of eventsBetween(this.log, this.world.position, position)) {
      this.world.apply(event);
      this.requests.apply(event);
    }
  }
}
