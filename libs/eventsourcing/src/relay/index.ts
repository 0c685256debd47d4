export * from './event-stream.js';
export * from './message-relay.js';
export * from './message-stream.js';
export * from './relay.js';
