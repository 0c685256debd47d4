export * from './dump.js';
export * from './load.js';
export * from './rows.js';
