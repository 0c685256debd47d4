export * from './memory-bus.js';
export * from './seeded-ids.js';
export * from './virtual-clock.js';
