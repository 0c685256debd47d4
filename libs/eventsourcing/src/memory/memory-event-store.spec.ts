import { RandomIds, SystemClock } from '@omnivisor/platform/ports';
import { describeEventStore } from '../testing/event-store-suite.js';
import { MemoryEventStore } from './memory-event-store.js';

describeEventStore('memory', async () => {
  const store = new MemoryEventStore(new SystemClock(), new RandomIds());
  return { open: async () => store, contiguous: true, close: async () => {} };
});
