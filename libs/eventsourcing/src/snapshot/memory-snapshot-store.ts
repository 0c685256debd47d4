import type { Snapshot, SnapshotStore } from './snapshot-store.js';

export class MemorySnapshotStore implements SnapshotStore {
  private kept: Snapshot | undefined;

  async load(): Promise<Snapshot | undefined> {
    return this.kept;
  }

  async save(snapshot: Snapshot): Promise<void> {
    this.kept = { ...snapshot, parts: [...snapshot.parts] };
  }
}
