export * from './file-image-store.js';
export * from './image-store.js';
export * from './memory-image-store.js';
