export * from './nats/credentials.js';
export * from './nats/login.js';
export * from './nats/nats-bus.js';
export * from './ports/index.js';
