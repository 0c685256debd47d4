export * from './memory-snapshots.js';
export * from './postgres-snapshots.js';
export * from './snapshot-store.js';
