import type { Snapshot, SnapshotStore, Snapshots } from './snapshot-store.js';

export class MemorySnapshots implements Snapshots {
  private readonly kept = new Map<string, Snapshot>();

  of(name: string, version: string): SnapshotStore {
    const key = JSON.stringify([name, version]);
    return {
      load: async () => this.kept.get(key),
      save: async (snapshot) => {
        this.kept.set(key, { ...snapshot, parts: [...snapshot.parts] });
      },
    };
  }
}
