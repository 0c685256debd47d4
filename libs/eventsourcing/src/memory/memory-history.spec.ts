import { describeHistory } from '../testing/history-suite.js';
import { MemoryHistory } from './memory-history.js';

let last: MemoryHistory;
describeHistory('memory', async () => ({
  fresh: async () => {
    last = new MemoryHistory();
    return last;
  },
  again: async () => last,
  close: async () => {},
}));
