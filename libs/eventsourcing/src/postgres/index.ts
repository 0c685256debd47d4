export { ConnectionLost } from './link.js';
export * from './migrate.js';
export * from './pg-leadership.js';
export * from './postgres-event-store.js';
export * from './postgres-history.js';
export * from './postgres-read-model.js';
