export * from './given-when-then.js';
export * from './past.js';
export * from './test-postgres.js';
