export * from './person.js';
export * from './things.js';
