export { boxOf } from './box.js';
export * from './personal-keys.js';
export * from './personal-store.js';
