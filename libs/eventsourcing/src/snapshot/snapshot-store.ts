import { createHash } from 'node:crypto';
import type { EventId, Position } from '@omnivisor/contracts';
import type { EventStore } from '../event-store.js';

/** A fold of the log as it stood at a position. It is derived: whoever has none folds the log. */
export interface Snapshot {
  /** Of the newest event that is folded. */
  readonly position: Position;
  /** Of that event: another log has another one there. */
  readonly eventId: EventId;
  /** The state, as texts of bounded size, in order. */
  readonly parts: Iterable<string>;
}

/** Keeps the newest snapshot of one fold, in one version of its code; what another version wrote is never seen. */
export interface SnapshotStore {
  /**
   * @returns undefined when there is none
   * @throws SnapshotDamaged; DomainError `unavailable`
   */
  load(): Promise<Snapshot | undefined>;
  /** Takes the place of the one before, as a whole or not at all. @throws DomainError `unavailable` */
  save(snapshot: Snapshot): Promise<void>;
}

/** Snapshots of many folds. The same name and version mean the same one. */
export interface Snapshots {
  of(name: string, version: string): SnapshotStore;
}

/** What is kept is not what was saved. */
export class SnapshotDamaged extends Error {
  constructor(what: string) {
    super(`the snapshot is damaged: ${what}`);
    this.name = 'SnapshotDamaged';
  }
}

/** Folds parts into what tells whether they come back as they were. */
export class Digest {
  private readonly hash = createHash('sha256');

  add(part: string): void {
    this.hash.update(`${part.length}:`).update(part);
  }

  text(): string {
    return this.hash.digest('hex');
  }
}

/** True when the log is the one that the snapshot was folded from. @throws EventStoreUnavailable */
export const isOfLog = async (
  { position, eventId }: Pick<Snapshot, 'position' | 'eventId'>,
  log: Pick<EventStore, 'head' | 'readAll'>,
): Promise<boolean> => {
  if (position < 1 || (await log.head()) < position) return false;
  const [event] = await log.readAll(position - 1, 1);
  return event?.position === position && event.id === eventId;
};
