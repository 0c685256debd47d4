export * from './app-core.js';
export * from './canonical.js';
export * from './command-handler.js';
export * from './decider.js';
export * from './event-store.js';
export * from './process-manager.js';
export * from './projection.js';
export * from './read-model.js';
