import { SystemClock } from '../ports/index.js';
import { describeBus } from './bus-behaviour.js';
import { MemoryBus } from './memory-bus.js';

describeBus({
  name: 'memory',
  open: async () => {
    const wire = new MemoryBus(new SystemClock());
    const closed = new Set<object>();
    const client = () => {
      const self: MemoryBus = Object.create(wire, {
        close: { value: async () => void closed.add(self) },
        connected: { value: () => !closed.has(self) },
        request: {
          value: (...args: Parameters<MemoryBus['request']>) =>
            closed.has(self) ? new MemoryBus(new SystemClock()).request(...args) : wire.request(...args),
        },
        respond: { value: wire.respond.bind(wire) },
        subscribe: { value: wire.subscribe.bind(wire) },
        publish: { value: wire.publish.bind(wire) },
      });
      return self;
    };
    return { a: client(), b: client(), close: () => wire.close() };
  },
  settle: () => new Promise((resolve) => setImmediate(resolve)),
});
