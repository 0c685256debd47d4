export * from './authority.js';
export * from './memory-bus.js';
export * from './private-nats.js';
export * from './seeded-ids.js';
export * from './virtual-clock.js';
