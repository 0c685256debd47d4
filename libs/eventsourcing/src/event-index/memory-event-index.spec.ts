import { describeEventIndex } from '../testing/event-index-suite.js';
import { MemoryEventIndex } from './memory-event-index.js';

describeEventIndex('memory', async () => {
  let last = new MemoryEventIndex();
  return {
    fresh: async () => {
      last = new MemoryEventIndex();
      return last;
    },
    again: async () => last,
    close: async () => {},
  };
});
