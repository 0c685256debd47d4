export * from './event-index.js';
export * from './memory-event-index.js';
export * from './postgres-event-index.js';
