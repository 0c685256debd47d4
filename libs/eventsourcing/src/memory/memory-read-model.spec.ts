import { describeReadModel } from '../testing/read-model-suite.js';
import { MemoryReadModel } from './memory-read-model.js';

describeReadModel('memory', async () => {
  let model = new MemoryReadModel();
  return {
    fresh: async () => {
      model = new MemoryReadModel();
      return model;
    },
    again: async () => model,
    close: async () => {},
  };
});
