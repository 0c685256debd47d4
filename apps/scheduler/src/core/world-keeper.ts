import { DomainError, type Position, type RecordedEvent } from '@omnivisor/contracts';
import type { EventStore } from '@omnivisor/eventsourcing';
import { isOfLog, type Snapshot, type SnapshotStore } from '@omnivisor/eventsourcing/snapshot';
import { World } from './world.js';
import { partsOf, stateOf } from './world-snapshot.js';

export interface WorldKeeperOptions {
  readonly store: Pick<EventStore, 'head' | 'readAll'>;
  readonly snapshots: SnapshotStore;
  readonly world: World;
  readonly every?: number | undefined;
  readonly onError: (where: string, error: unknown) => void;
}

const EVERY = 50_000;

/** Keeps the world now and then, so that a start folds only what came after. What is kept is never more than a help. */
export class WorldKeeper {
  private resumed = false;
  private kept: Position = 0;
  private newest: Pick<RecordedEvent, 'position' | 'id'> | undefined;
  private keeping: Promise<void> | undefined;

  constructor(private readonly options: WorldKeeperOptions) {}

  /**
   * Fills a world that has not begun; once.
   * @throws DomainError `unavailable` when the store does not answer: then it may be asked again
   */
  async resume(): Promise<void> {
    if (this.resumed) return;
    const { snapshots, store, world, onError } = this.options;
    try {
      const snapshot = await snapshots.load();
      if (snapshot) {
        if (!(await isOfLog(snapshot, store))) throw new Error(`position ${snapshot.position} is of another log`);
        const state = stateOf(snapshot.parts);
        // One that does not fit together must not leave half of itself.
        new World().restore(state);
        world.restore(state);
        this.kept = snapshot.position;
      }
    } catch (error) {
      if (error instanceof DomainError && error.kind === 'unavailable') throw error;
      onError('the snapshot of the world is left alone, and the whole log folded', error);
    }
    this.resumed = true;
  }

  /** Tells of the newest event that the world has. */
  folded(event: RecordedEvent | undefined): void {
    if (event) this.newest = event;
  }

  /** Keeps the world when enough has come since; whoever waits for the world does not wait for this. */
  keep(): void {
    const { newest } = this;
    const { every = EVERY, world, snapshots, onError } = this.options;
    if (this.keeping || !newest || newest.position - this.kept < every) return;
    // The lists are copied now, and written while the world goes on.
    const snapshot: Snapshot = { position: newest.position, eventId: newest.id, parts: partsOf(world.state) };
    this.kept = newest.position;
    this.keeping = snapshots
      .save(snapshot)
      .catch((error) => onError('keeping the world', error))
      .finally(() => {
        this.keeping = undefined;
      });
  }

  /** Resolves when nothing is being written. */
  async done(): Promise<void> {
    await this.keeping;
  }
}
