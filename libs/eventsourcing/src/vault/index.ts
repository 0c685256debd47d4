export * from './memory-vault.js';
export * from './postgres-vault.js';
export { type MasterKey, masterKeys } from './sealed.js';
export type { Vault } from './vault.js';
