export * from './memory-event-store.js';
export * from './memory-history.js';
export * from './memory-leadership.js';
export * from './memory-read-model.js';
