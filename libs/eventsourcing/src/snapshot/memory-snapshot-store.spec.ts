import { describeSnapshotStore } from '../testing/snapshot-store-suite.js';
import { MemorySnapshotStore } from './memory-snapshot-store.js';

describeSnapshotStore('memory', async () => {
  const stores = new Map<string, MemorySnapshotStore>();
  return {
    store: async (name, version) => {
      const store = stores.get(`${name} ${version}`) ?? new MemorySnapshotStore();
      stores.set(`${name} ${version}`, store);
      return store;
    },
    close: async () => {},
  };
});
