export * from './memory-snapshot-store.js';
export * from './postgres-snapshot-store.js';
export * from './snapshot-store.js';
