export * from './fake.driver.js';
export type * from './fake-guest.js';
export * from './fake-hypervisor.js';
