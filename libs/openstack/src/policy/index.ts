export * from './engine.js';
export { type Credentials, compile, PolicySyntaxError, type Target } from './rule.js';
