export { boxOf } from './box.js';
export * from './forget.js';
export * from './personal-keys.js';
export * from './personal-store.js';
