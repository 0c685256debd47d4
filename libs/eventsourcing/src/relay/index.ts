export * from './event-stream.js';
export * from './relay.js';
