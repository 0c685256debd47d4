export * from './engine.js';
export { readPolicies } from './files.js';
export { type Credentials, compile, PolicySyntaxError, type RuleTable, type Target } from './rule.js';
